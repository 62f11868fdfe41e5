// Package sim plays a master and its slaves in a world of their own: one goroutine, virtual time, a network and disks that fail as the
// seed says. What decides is package decide and package epoch as they are; what package ha does around them with goroutines and
// sockets is played in the same order (link_test.go).
//
// A seed decides how many brokers there are, how they flush, how many copies an append waits for, and what befalls them: kills,
// power cuts in the middle of things, pauses, partitions, half dead connections, slow disks, cleaned files, promotions of a slave
// with the old master's help and without it, old masters that return. Then all faults end and an operator leaves one master.
// Held against what happens, at every step:
//
//	a slave's log is a beginning of what the mastership that it follows has had
//	SEND_OK: as many different brokers as the rules want have the message, where the flush mode says
//	no slave cuts off a message that was acknowledged and that its master lacks
//	a broker that has followed a newer epoch is fed by no older one
//
// and at the end: an append is acknowledged again, all logs are the same, with everything acknowledged in them.
//
//	go test ./broker/ha/sim                                 the seeds of CI
//	go test ./broker/ha/sim -run 'TestSeed$' -seed=17 -v    one seed, with all that happens
package sim
