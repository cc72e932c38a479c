// Package egress is the only way out: deliveries, token requests, mails and
// test buttons all pass through its Client.
//
// A Guard checks URLs when they are configured and addresses when they are
// dialled: after the name is resolved, once, and before the connect, so no
// second look-up can disagree with the first. The Client sends at most one
// request per call and comes back within the call's time, whatever the
// receiver does, having read at most 16 KiB of the answer's body, or what the
// caller that wants it whole allows. An Identity is an endpoint's own client
// certificate and roots, with connections of its own. A Conn is a connection
// for what is not HTTP, opened under the same rules.
//
// It refuses to follow redirects, to keep cookies, to read proxy settings
// from the environment, to decompress, to re-send by itself, to speak TLS
// below 1.2 or without verification, and to put a URL's query or a receiver's
// bytes into an error.
package egress
