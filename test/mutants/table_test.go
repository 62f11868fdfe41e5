package mutants

// guard is a test that must fail on a mutant and pass without it.
type guard struct {
	pkg  string
	run  string
	args []string
	// processes: the test runs the program itself, so it is the program that is built wrong.
	processes bool
}

var (
	// powerCuts plays seeds of kills and power cuts against the store alone.
	powerCuts = guard{"./broker/store/torture", "^TestSeeds$", []string{"-seeds=300"}, false}
)

func unit(pkg, run string) guard { return guard{pkg, run, nil, false} }

// clusters is a test of test/chaos: real processes, real networks.
func clusters(run string) guard {
	return guard{"./test/chaos", "^" + run + "$", []string{"-patience=8s"}, true}
}

type mutant struct {
	name     string // what a programmer did
	file     string
	old, new string
	caught   guard
}

var mutants = []mutant{
	{"the log is never fsynced", "broker/store/commitlog/commit.go",
		"if err := s.Sync(); err != nil", "if err := error(nil); err != nil", powerCuts},

	{"SYNC_FLUSH is answered without a flush", "broker/store/round.go",
		"if s.tune.Load().SyncFlush {", "if false {", powerCuts},

	{"puts are answered before they are written", "broker/store/round.go",
		"	err := s.writeRound(r, end)\n", `	s.tell(r, nil)
	for i := range r.recs {
		r.recs[i].done = nil
	}
	err := s.writeRound(r, end)
`, powerCuts},

	{"messages are served before they are flushed (#8239)", "broker/store/commitlog/commit.go",
		"	if err := l.sync(l.Flushed(), end); err != nil {\n		return err\n	}\n	l.Advance(end)\n",
		"	l.Advance(end)\n	if err := l.sync(l.Flushed(), end); err != nil {\n		return err\n	}\n", unit("./broker/store", "TestReadersSeeOnlyWhatIsFlushed")},

	{"a failed fsync is forgotten", "broker/store/flush.go",
		"		s.flush.failed.CompareAndSwap(nil, &err)\n		s.fail(err)\n", "", unit("./broker/store", "TestFailedFlushIsFinal")},

	{"checksums are not looked at", "internal/message/record.go",
		"if o.CheckCRC && BodyCRC(r.Body) != r.BodyCRC {", "if false {", unit("./broker/store", "TestScripts")},

	{"what is read is served unchecked", "broker/store/get.go",
		"message.Options{CheckCRC: true}); err != nil {", "message.Options{}); err != nil {", unit("./broker/store", "TestAFlippedBitIsNamedAndNotServed")},

	{"recovery does not check what it reads", "broker/store/recover.go",
		"block: 1 << 20, crc: true}", "block: 1 << 20}", powerCuts},

	{"a cut is not written through", "broker/store/segment/segment.go",
		"	if err := f.Zero(at, s.size-at); err != nil {\n		return fmt.Errorf(\"cut", "	if err := error(nil); err != nil {\n		return fmt.Errorf(\"cut", powerCuts},

	{"a cut is not fsynced (#10666)", "broker/store/segment/segment.go",
		"	if err := f.Sync(); err != nil {\n		return fmt.Errorf(\"cut", "	if err := error(nil); err != nil {\n		return fmt.Errorf(\"cut", powerCuts},

	{"what lies behind the end stays after a crash", "broker/store/recover.go",
		"if cut || crashed { //", "if false { //", powerCuts},

	{"queue offsets jump by two now and then", "broker/store/appender.go",
		"		q.Next++\n", "		q.Next++\n		if q.Next%64 == 0 {\n			q.Next++\n		}\n", powerCuts},

	{"two messages get one queue offset (#7689)", "broker/store/appender.go",
		"		q.Next++\n", "		if q.Next++; q.Next%64 == 0 {\n			q.Next--\n		}\n", powerCuts},

	{"a round that failed leaves its bytes", "broker/store/round.go",
		"if cerr := s.clog.Cut(s.end, nil); cerr != nil {", "if cerr := error(nil); cerr != nil {", unit("./broker/store", "TestAFailedWriteLeavesNoPartOfAFrame")},

	{"a full disk is final", "broker/store/round.go",
		"if vfs.IsNoSpace(err) {", "if vfs.IsNoSpace(err) && false {", unit("./broker/store", "TestFullDiskRefusesAndResumes")},

	{"a table is renamed before it is fsynced (#9705)", "internal/vfs/vfs.go",
		"		err = f.Sync()\n", "", unit("./internal/vfs", ".")},

	{"a renamed table's directory is not fsynced", "internal/vfs/vfs.go",
		"	return fsys.SyncDir(filepath.Dir(name))\n}\n\nfunc writeSynced", "	return nil\n}\n\nfunc writeSynced", unit("./internal/vfs", ".")},

	{"the checkpoint is written before the queues", "broker/store/flush.go",
		"	if err := s.table.Save(0, true); err != nil {\n		return err\n	}\n", "", powerCuts},

	{"the checkpoint is written before the log", "broker/store/flush.go",
		"	c := s.visible()\n	if err := s.Flush(); err != nil {\n		return err\n	}\n", "	c := s.visible()\n", powerCuts},

	{"the checkpoint takes a record that is not in its queue", "broker/store/recover.go",
		"return ck.safe, true, nil", "return ck.lastRecord + 1, true, nil", powerCuts},

	{"queues are not restored (#467)", "broker/store/restore.go",
		"	if hasQueue(r.SysFlag) {\n		if err := s.restoreUnit", "	if false {\n		if err := s.restoreUnit", powerCuts},

	{"the index is not restored (#8007)", "broker/store/restore.go",
		"if s.index != nil && r.SysFlag&", "if false && r.SysFlag&", unit("./broker/store", ".")},

	{"what was written and not flushed is refused", "broker/store/round.go",
		"	r.down = true\n", "", unit("./broker/store", "TestAFailedFlushUnderSyncFlushIsTheLastWord")},

	{"a topic's record is not fsynced", "internal/journal/journal.go",
		"		err = j.f.Sync()\n", "", unit("./internal/journal", ".")},

	{"a clock that is set back ends the index", "broker/store/index/index.go",
		"			if at, err := nameTime(last.name); err == nil && at.After(now) {\n				now = at\n			}\n", "", unit("./broker/store/index", "TestAClockThatIsSetBack")},

	{"a clock that is set makes files old", "internal/clock/steady.go",
		"func MonoOf(t time.Time) time.Duration { return t.Sub(begin) }", "func MonoOf(t time.Time) time.Duration { return t.Round(0).Sub(begin.Round(0)) }", unit("./broker/store", "TestAClockThatIsSetDeletesNothing")},

	{"a member of a raft group shows after a start what is not committed", "broker/store/recover.go",
		"if r.Size > 0 && at+n <= visible {", "if r.Size > 0 {", unit("./broker/store", "TestAStartShowsWhatWasCommittedAndKeepsTheRest")},

	{"a leader's messages are visible when they are written", "broker/store/gated.go",
		"	s.clog.Advance(to) // readers", "	s.clog.Advance(s.clog.Top()) // readers", unit("./broker/store", "TestNothingIsVisibleOrAnsweredBeforeItIsCommitted")},

	{"a leader takes messages before all it has inherited is committed: offsets are given twice", "broker/store/gate.go",
		"if s.clog.Written() != s.clog.Top() {", "if false {", unit("./broker/store", "TestWhatIsCutOffIsAnsweredOnceAndItsOffsetsAreGivenAgain")},

	{"what a follower cuts off comes back after a power cut (#10666)", "broker/store/segment/segment.go",
		"	if err := f.Sync(); err != nil {\n		return fmt.Errorf(\"cut", "	if err := error(nil); err != nil {\n		return fmt.Errorf(\"cut",
		guard{"./broker/store/torture", "^TestEveryEdgeOfAMember$", nil, false}},

	{"starting anew is not written down before it begins", "broker/store/reset.go",
		"if err := s.noteReset(r); err != nil {", "if err := error(nil); err != nil {", unit("./broker/store", "TestStartingAnewCutOffAnywhereLeavesTheOldOrTheNew")},

	{"who starts anew does not learn where the queues stood", "broker/store/reset.go",
		"s.table.Begin(r.queues)", "s.table.Begin(r.queues[:0])", unit("./broker/store", "TestAMemberStartsAnewFromAnothersOldestFile")},

	{"a clean stop deletes what is not committed", "broker/store/commitlog/log.go",
		"	end := l.Top()\n", "	end := l.Written()\n", unit("./broker/store", "TestAStartShowsWhatWasCommittedAndKeepsTheRest")},

	{"a member's Sync does not sync", "broker/store/commitlog/top.go",
		"if from < to {", "if false {", unit("./broker/store", "TestSyncReachesBeyondWhatIsVisible")},

	{"a master acknowledges before its slave has it", "broker/ha/master.go",
		"case m.acks.Covered(next) >= next:", "case m.acks.InSync(next) > 0:", clusters("TestTheSlaveAloneHasAllThatWasAcknowledged")},

	{"any report of a slave is believed (#1155)", "broker/ha/slaveconn.go",
		"if off < 0 || off > s.sent.Load() {", "if off < 0 {", clusters("TestALyingSlaveIsNotBelieved")},

	{"epochs and checksums are not looked at: a slave goes on at its own end", "broker/ha/decide/decide.go",
		"	top, sure, ok, below := epoch.Common(", `	if slave.Max >= master.Min && slave.Max <= master.Max {
		return at(slave.Max, slave)
	}
	top, sure, ok, below := epoch.Common(`, clusters("TestAPromotedSlaveAndItsOldMaster/^SYNC_MASTER")},

	{"a leader acknowledges before its followers have answered", "broker/raftgroup/work.go",
		"		if err := c.persist(rd.Entries); err != nil {\n			return err\n		}\n", `		if err := c.persist(rd.Entries); err != nil {
			return err
		}
		for _, id := range c.group.Conf.Voters {
			if c.leading && id != c.o.Self {
				_ = c.rn.Step(pb.Message{Type: pb.MsgAppResp, From: id, To: c.o.Self, Term: c.leadTerm, Index: c.ix.last})
			}
		}
`, clusters("TestAnIsolatedLeaderAcknowledgesNothing")},

	{"members of a raft group do not flush", "broker/raftgroup/work.go",
		"	if !c.durable() {\n", "	if true {\n", clusters("TestAPowerCutOfAWholeRaftGroup")},

	{"votes ask nothing about terms and logs: who lags may lead (#2178)", "broker/raftgroup/step.go",
		"	before := c.rn.BasicStatus()\n	if m.Type == pb.MsgAppResp", `	before := c.rn.BasicStatus()
	if m.Type == pb.MsgVote || m.Type == pb.MsgPreVote {
		m.LogTerm, m.Index = 1<<30, 1<<40
	}
	if m.Type == pb.MsgAppResp`, clusters("TestALaggardDoesNotLead")},
}
