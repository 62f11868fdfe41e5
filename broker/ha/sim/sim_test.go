package sim

import (
	"testing"

	"rmqctl/internal/sim"
)

var flags = sim.NewFlags(2000)

func TestSeed(t *testing.T) { flags.Seed(t, play) }

func TestSeeds(t *testing.T) { flags.Seeds(t, "./broker/ha/sim", play) }

func TestASeedTellsTheSameStoryTwice(t *testing.T) { flags.Repeats(t, 20, play) }
