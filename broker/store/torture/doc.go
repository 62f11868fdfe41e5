// Package torture proves what the store promises about kills and power cuts.
//
// A world (world_test.go) is a seeded program: producers, consumers, retention, deleted topics, time that passes, on a disk
// in memory whose power goes off before, in or after any file operation (power_test.go). The store is opened again, perhaps
// with another cut in the middle of recovery, and the rest is held against what was acknowledged and read (verify_test.go).
// Then life goes on, up to the next cut.
//
//	go test ./broker/store/torture                 the seeds of CI, once failing ones first
//	go test ./broker/store/torture -seed=17 -v     one seed, with all that happens
//	make torture SEEDS=100000                      a long run
package torture
