package sim

import (
	"testing"

	"rmqctl/internal/sim"
)

var flags = sim.NewFlags(2400)

func TestSeed(t *testing.T) { flags.Seed(t, play) }

func TestSeeds(t *testing.T) {
	flags.Seeds(t, "go test ./broker/ha/sim -v -run 'TestSeed$' -seed=", 1, play)
}

func TestASeedTellsTheSameStoryTwice(t *testing.T) { flags.Repeats(t, 20, play) }

func TestSeedsThatOnceFailed(t *testing.T) { flags.OnceFailing(t, "testdata/once-failing", play) }
