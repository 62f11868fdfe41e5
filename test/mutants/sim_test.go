package mutants

// Mutants of what the simulations guard: raft groups, and masters with their slaves.

var (
	raftSeeds = guard{"./broker/raftgroup/sim", "^TestSeeds$|^TestSeedsThatOnceFailed$", []string{"-seeds=300"}, false}
	haSeeds   = guard{"./broker/ha/sim", "^TestSeeds$", []string{"-seeds=300"}, false}
)

var simMutants = []mutant{
	{"a leader makes its own round visible without a majority", "broker/raftgroup/work.go",
		"	if err := c.ix.append(recs); err != nil {\n		return err\n	}\n	if !c.durable() {",
		"	if err := c.ix.append(recs); err != nil {\n		return err\n	}\n	if c.leading {\n		_ = c.log.Commit(end)\n	}\n	if !c.durable() {", raftSeeds},

	{"a vote is not written down", "broker/raftgroup/work.go",
		"	c.vote.now.Term, c.vote.now.Vote = h.Term, h.Vote\n	return c.saveVote(true)",
		"	c.vote.now.Term, c.vote.now.Vote = h.Term, h.Vote\n	return nil", raftSeeds},

	{"a follower acknowledges before it has written", "broker/raftgroup/work.go",
		"	return t == pb.MsgAppResp || t == pb.MsgVoteResp || t == pb.MsgPreVoteResp\n", "	return false\n", raftSeeds},

	{"a member's index is not fsynced before it acknowledges", "broker/raftgroup/work.go",
		"c.both(func() error { return c.log.Sync(end) }, c.ix.sync)",
		"c.both(func() error { return c.log.Sync(end) }, func() error { return nil })", raftSeeds},

	{"entries that conflict stay in the log", "broker/raftgroup/work.go",
		"	if c.log.End() == end {\n		return nil\n	}\n	if err := c.log.TruncateTo(end); err != nil {",
		"	if c.log.End() == end {\n		return nil\n	}\n	if err := error(nil); err != nil {", raftSeeds},

	{"a cut at the first entry of an index file empties the file before", "broker/raftgroup/index.go",
		" && ix.files[n-1].number == ix.fileOf(i) { //", " { //", raftSeeds},

	{"what a killed member wrote counts without a sync", "broker/raftgroup/open.go",
		"	return c.ix.sync()\n", "	return nil\n",
		guard{"./broker/raftgroup", "TestWhatAKilledRunWroteIsOnTheDiskBeforeItCounts", nil, false}},

	{"what is committed is not noted before it is shown", "broker/raftgroup/open.go",
		"	if c.applied != c.saved {\n		if err := c.saveVote(false); err != nil {",
		"	if c.applied != c.saved {\n		if err := error(nil); err != nil {", raftSeeds},

	{"a log begins behind where its leader's begins", "broker/raftgroup/storage.go",
		"snapshotData{Physical: at, ", "snapshotData{Physical: at + 32, ", raftSeeds},

	{"the common point of two logs is one mastership too far", "broker/ha/epoch/list.go",
		"off, sure, ok = min(a.ends(i, aEnd), b.ends(j, bEnd))", "off, sure, ok = max(a.ends(i, aEnd), b.ends(j, bEnd))", haSeeds},

	{"masterships of one epoch are one", "broker/ha/epoch/list.go",
		"		j := slices.Index(b, a[i])", "		j := slices.IndexFunc(b, func(e Entry) bool { return e.Epoch == a[i].Epoch })", haSeeds},

	{"one copy less than asked for is enough", "broker/ha/decide/acks.go",
		"	need := a.Need(end) - 1\n", "	need := a.Need(end) - 2\n", haSeeds},

	{"a slave that parted is not cut", "broker/ha/decide/decide.go",
		"	return Verdict{Action: Truncate, At: off}", "	return Verdict{Action: Continue, At: slave.Max}", haSeeds},

	{"a master that lost its tail asks nobody", "broker/ha/decide/decide.go",
		"	return Verdict{Action: Give, At: top}", "	return Verdict{Action: Later}", haSeeds},
}
