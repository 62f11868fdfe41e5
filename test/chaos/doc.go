// Package chaos breaks clusters of real processes, ours or Java's, while clients use them, and says whether the clusters kept
// their word: nothing lost, phantom, corrupt, duplicated, divergent, reordered or missing, no offset gone back, and how long
// there was no service. (internal/checker defines these words.)
//
//	c := chaos.Start(t, chaos.Layout{Sets: []chaos.SetLayout{chaos.Raft("r")}})
//	w := c.Run(chaos.Load{})                                            // producers, a group, watchers, probers
//	err := c.Strike(chaos.Kill(chaos.Leader()), rnd, time.Second)       // a fault, for a second
//	w.MoreAcks(50, time.Minute)                                         // it takes messages again
//	v, err := w.Finish(time.Minute)                                     // level, every replica read from 0, judged
//
// # Processes and networks
//
// Every name server and broker is a process of its own: bin/rmqctl (RMQCTL, or built from the tree), or a version of Java
// RocketMQ (Layout.Program, see test/peers). Each lives in a network namespace with an address of its own, on a bridge that the
// test made; the test binary runs itself again in a fresh network and mount namespace (Main, to be called from TestMain), where
// the clients and the far ends of the cables are. No namespace, mount or device has a name outside, so nothing is left however a
// test ends. This needs root, ip, nft and tc; CI fails without them, elsewhere the tests skip and say why. Layout.Loopback puts
// the members on addresses of the loopback instead: no root, and no fault of the network.
//
// # Faults
//
// A fault is a value: what, and whom (a Target: One, Leader, Leaders, Follower, Zone, All, NameServer, These). Both and
// DuringRecovery make one of two; Schedule draws from a menu with a seed. The seed of a test is printed and repeats what is
// chosen (-seed); when a process answers is up to the machine.
//
//	Kill          SIGKILL, later started again
//	PowerCut      SIGKILL, and the disk loses what was not flushed: its ext4 is shut down without its journal and mounted anew,
//	              and the boot id is another
//	Pause         SIGSTOP, SIGCONT
//	Isolated      no way to and from all other members and name servers, while clients still get through
//	Halves, OneWay, Bridge    partitions; packets are dropped by nft where they arrive
//	Silent        nothing in, nothing out, connections stay; Unplugged: the cable is pulled
//	SlowNetwork   each packet that a host sends waits, or is lost: it takes a detour through a TUN device and this process,
//	              because the kernel may lack sch_netem; a delay counts once for a round trip
//	FullDisk      a file takes the last byte of the broker's own disk
//	SlowDisk      the broker's ext4 is frozen and thawed again and again: each write and fsync waits; with a long one it hangs
//	ClockJump     the wall clock of a build whose package main takes it from internal/clock's Jumping: time namespaces of Linux do
//	              not cover the wall clock. Everything else in that build is as shipped
//
// Disks (Layout.DiskMB) are files with ext4 on loop devices, mounted in the test's own mount namespace.
//
// # The workload
//
// Producers send to one queue each, one message after the other, to whoever the route says leads; they ask for routes every
// 25 ms. Each attempt is recorded as acknowledged, refused or unknown. SEND_OK alone is an acknowledgement. What ours refuses with
// a status that says "not stored" must never be seen. Half of the producers send a message again until it is acknowledged, the
// others go on with the next. The consumers of a group commit, follow the route to another replica, and begin there where that
// one says the group stands: a commit that was older than Load.Saved when service ended must not be forgotten. A watcher reads each replica directly: what
// it was given must stay. A prober sends every 25 ms whatever became of the probes before: from a kill to the first
// acknowledgement of a message sent after it is the time without a writable leader.
//
// # Java as control
//
//	go test ./test/chaos -run TestKilledLeadersAreReplaced -v -program=4.9.7 -kills=20
//
// runs the same test on Java's brokers; what they break is shown and fails nothing.
//
// # Mutants
//
// test/mutants builds the program with one line wrong (-program-overlay) and wants the tests here to fail.
package chaos
