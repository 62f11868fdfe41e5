//go:build race

package broker

// raceEnabled: the race detector makes sync.Pool forget at random, so nothing can be counted.
const raceEnabled = true
