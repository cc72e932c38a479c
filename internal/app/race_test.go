//go:build race

package app_test

// slow tells that the race detector makes everything ten times slower: then a
// test that plays through many histories plays through few.
const slow = true
