//go:build race

package dispatch_test

// slow tells that the race detector makes everything ten times slower: then a
// sample of the fault injections and random lives is tried, and the rest
// without it.
const slow = true
