// Which ports a firewall lets through, as seen from outside and from the other members.
package e2e

import (
	"fmt"
	"slices"
	"sync"

	"rmqctl/test/hosts/bed"
)

// watched are all ports that some layout may open, and two that none may.
var watched = []int{8080, 9876, 10909, 10911, 10912, 11009, 11011, 11012, 40911}

// reachable looks from a member at the watched ports of every node. Answers other than "rejected by the firewall" are listed.
func (s *site) reachable(from string) map[string][]int {
	s.t.Helper()
	found := map[string][]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range s.Nodes {
		for _, port := range watched {
			if n.Name == from {
				continue // lo is not filtered
			}
			wg.Go(func() {
				got, err := s.Probe(ctxOf(s.t), from, fmt.Sprint(n.Addr, ":", port))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					s.t.Errorf("probe %s:%d from %s: %v", n.Name, port, from, err)
				}
				if got == bed.Open || got == bed.Refused {
					found[n.Name] = append(found[n.Name], port)
				}
			})
		}
	}
	wg.Wait()
	for _, ports := range found {
		slices.Sort(ports)
	}
	return found
}
