package sim

import (
	"testing"

	"rmqctl/internal/sim"
)

var flags = sim.NewFlags(7600)

const repeat = "go test ./broker/raftgroup/sim -v -run "

func TestSeed(t *testing.T) { flags.Seed(t, play) }

func TestSeeds(t *testing.T) { flags.Seeds(t, repeat+"'TestSeed$' -seed=", 1, play) }

func TestASeedTellsTheSameStoryTwice(t *testing.T) { flags.Repeats(t, 20, play) }

func TestSeedsThatOnceFailed(t *testing.T) { flags.OnceFailing(t, "testdata/once-failing", play) }

// With real stores a seed takes ten times as long. What goroutines of the stores do may change places with their neighbours.

func TestStoreSeed(t *testing.T) { flags.Seed(t, playStores(t)) }

func TestStoreSeeds(t *testing.T) {
	flags.Seeds(t, repeat+"'TestStoreSeed$' -seed=", 19, playStores(t))
}
