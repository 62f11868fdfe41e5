// The table of the experiments: Apache RocketMQ's figures beside those of this run.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var page = flag.String("disasters", "", "write the table of this run into this page")

// seen is what operators of Apache RocketMQ 4.7 saw, in their words and figures.
var seen = map[string]string{
	"X0":  "console keeps working",
	"X1":  "500 per master, mirrored on the slaves",
	"X2":  "no effect",
	"X3":  "sends go to the other, its backlog is read from its slave",
	"X4":  "all read from the slaves; sends fail: No route info",
	"X5":  "nothing is consumed again",
	"X6":  "1,000 received",
	"X7":  "works",
	"X8":  "works",
	"X9":  "clients got `No route info of this topic`, the application had to be restarted",
	"X10": "some queues could not be read until the consumer was restarted",
	"X11": "21,910 received (9.6 % twice)",
	"X12": "works",
	"X13": "works",
	"X14": "0 of the sends lost; 88, 195, 220 not received at first",
	"X15": "24 sends lost, 283 not received",
}

func (r *results) table() string {
	var b strings.Builder
	b.WriteString("| | on | experiment | Apache RocketMQ 4.7 | client | sent | refused | acknowledged | received | lost | again | silent | all read | leaderless | restarts |\n")
	b.WriteString("|---|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	before := figure{}
	for _, f := range r.sorted() {
		id, on, what, theirs := f.id, strings.ToUpper(f.layout), f.what, seen[f.id]
		if f.id == before.id && f.layout == before.layout && f.what == before.what {
			id, on, what, theirs = "", "", "", ""
		}
		before = f
		if f.id == "X0" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | | | | | | | | %s | | 0 |\n", id, on, what, theirs, f.client, seconds(f.read))
			continue
		}
		acked := fmt.Sprint(f.acked)
		if f.alone > 0 {
			acked += fmt.Sprintf(" (%d by the master alone)", f.alone)
		}
		leaderless := ""
		if f.leaderless > 0 {
			leaderless = seconds(f.leaderless)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %d | %s | %d | %d | %d + %d | %s | %s | %s | %d |\n", id, on, what, theirs, f.client,
			f.sent, f.refused, acked, f.received, f.lost, f.reread, f.copies, seconds(f.quiet), seconds(f.read), leaderless, f.restarts)
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", max(d, 0).Seconds()) }

const (
	tableBegins = "<!-- the table of the last `make disasters` -->\n"
	tableEnds   = "<!-- its end -->\n"
)

// show prints the table, and puts it on the page if one is named.
func (r *results) show(t *testing.T) {
	t.Helper()
	table := r.table()
	t.Log("\n" + table)
	if *page == "" || t.Failed() {
		return
	}
	text, err := os.ReadFile(*page)
	must(t, err)
	head, rest, ok1 := strings.Cut(string(text), tableBegins)
	_, tail, ok2 := strings.Cut(rest, tableEnds)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", *page)
	}
	must(t, os.WriteFile(*page, []byte(head+tableBegins+"\n"+table+"\n"+tableEnds+tail), 0o644))
}
