// Package torture hurts a whole broker while clients work with it, and asks package checker whether a promise was broken:
// processes killed again and again, disks that fill up, fail or stall, clocks that jump.
//
// Every test prints its figures; go test -v shows them. Kills and clients are real; disks are real where root may mount
// one, and test file systems under a broker in this process where a fault must come at a chosen moment.
package torture
