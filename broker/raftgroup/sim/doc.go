// Package sim plays a raft group in a world of its own: one goroutine, virtual time, a network and disks that fail as the seed
// says. The members are raftgroup.Core, what drives them and stores their bytes is the simulation's.
//
// A seed decides how many members there are, how they flush, how fast producers append, and what befalls them: kills, power cuts
// in or between any two operations of the disk, of one, some or all; partitions of every shape, one-way cuts, loss, doubles,
// delays, flapping; pauses; clocks that go wrong; full, failing and slow disks; cleaned files; transfers; members taken in and out.
// Then all faults end. model_test.go holds against what happens, at every step:
//
//	one leader acknowledges in a term, and a member votes for one in a term, also after a power cut
//	what becomes visible anywhere is held by a majority where it survives what the flush mode promises to survive
//	what is visible is one log: the same bytes at the same offsets on all members, for ever
//	no member gives up what it acknowledged and the group committed
//	queue offsets ascend without gap or double, no message comes twice, none that was refused is seen
//
// and at the end: within a minute a leader acknowledges, and all members have the same log, with everything acknowledged in it.
//
//	go test ./broker/raftgroup/sim                          the seeds of CI
//	go test ./broker/raftgroup/sim -run 'TestSeed$' -seed=17 -v   one seed, with all that happens
//	make sim SEEDS=100000 FROM=1                            a long run
package sim
