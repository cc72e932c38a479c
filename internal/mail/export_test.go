package mail

// Line lets the tests ask whether a value says anything.
var Line = line
