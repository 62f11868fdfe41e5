// Applications that stay and do what the lines of their stdin tell.

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// produceTold: a line, COUNT PREFIX TRIES PAUSE THREADS, orders COUNT messages named PREFIX-0 and so on, PAUSE ms apart. Each is
// sent again, 100 ms later, until it is acknowledged or TRIES sends of it have failed (0: never give up). The end of an order
// is an "ordered" line.
func (p peer) produceTold() error {
	c, err := p.producer()
	if err != nil {
		return err
	}
	show("ready", nil)
	timeout := time.Duration(p.num("timeout", 3000)) * time.Millisecond // the client's own option is for its asynchronous sends only
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var count, tries, pause, threads int
		var prefix string
		if _, err := fmt.Sscan(in.Text(), &count, &prefix, &tries, &pause, &threads); err != nil {
			return fmt.Errorf("order %q: %w", in.Text(), err)
		}
		var next atomic.Int64
		var all sync.WaitGroup
		for range threads {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
					insist(c, p.named(prefix, int(i)), tries, timeout)
					time.Sleep(time.Duration(pause) * time.Millisecond)
				}
			}()
		}
		all.Wait()
		show("ordered", fields{"body": prefix, "n": count})
	}
	show("done", nil)
	return c.Shutdown()
}

func insist(c rocketmq.Producer, m *primitive.Message, tries int, timeout time.Duration) {
	for failed := 0; tries == 0 || failed < tries; failed++ {
		t0 := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		r, err := c.SendSync(ctx, m)
		cancel()
		showSent(r, err, m, t0)
		if err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// consumeTold stops and goes on taking messages: suspend, resume.
func (p peer) consumeTold() error {
	var got progress
	c, err := p.pushConsumer(&got)
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "suspend":
			c.Suspend()
		case "resume":
			c.Resume()
		}
		show(in.Text(), nil)
	}
	err = c.Shutdown()
	show("done", fields{"n": got.accepted.Load()})
	return err
}
