//go:build !race

package dispatch_test

const slow = false
