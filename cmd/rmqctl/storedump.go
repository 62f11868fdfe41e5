// What is in a store's files, printed.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"rmqctl/broker/store"
	"rmqctl/broker/store/index"
	"rmqctl/broker/store/inspect"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

type storeDumpCmd struct {
	storeFlags
	What   string `arg:"" optional:"" default:"log" enum:"log,queue,index,checkpoint" help:"log: messages; queue: the units of a topic's queues; index: its files, or with --topic and --key what lies in their slot; checkpoint."`
	From   int64  `placeholder:"OFFSET" help:"Log offset to begin at."`
	To     int64  `placeholder:"OFFSET" help:"Log offset to end before."`
	Topic  string `short:"t" help:"Topic."`
	Queue  int32  `short:"q" default:"-1" help:"Queue id; -1: all."`
	Offset string `placeholder:"A or A-B" help:"Queue offsets, with --topic and --queue; A- means to the end."`
	Key    string `help:"Messages with this UNIQ_KEY or one of KEYS; reads the whole log unless --from and --to narrow it."`
	ID     string `name:"id" help:"The message with this id, offset id or UNIQ_KEY."`
	Body   string `default:"none" enum:"none,text,hex" help:"How bodies are printed."`
	Limit  int64  `help:"Stop after so many; 0: never."`
	Live   bool   `help:"Look although a broker is at work: what it has not written yet is missing, and what it writes meanwhile may look damaged."`
}

func (c *storeDumpCmd) Run(ctx context.Context, std *streams) error {
	w, err := c.want()
	if err != nil {
		return withCode(exitUsage, err)
	}
	d, err := c.open(std, func(o *inspect.Options) { o.Live = c.Live })
	if err != nil {
		return err
	}
	defer d.Close()
	switch c.What {
	case "queue":
		err = c.units(ctx, d, w, std.out)
	case "index":
		err = c.index(d, std.out)
	case "checkpoint":
		err = c.checkpoint(std)
	default:
		err = c.log(ctx, d, w, std.out)
	}
	if errors.Is(err, inspect.ErrNoQueue) {
		return withCode(exitUsage, err)
	}
	return err
}

// want is what the flags ask for.
func (c *storeDumpCmd) want() (inspect.Want, error) {
	w := inspect.Want{From: c.From, To: c.To, Topic: c.Topic, Queue: c.Queue, Last: -1, Key: c.Key, ID: c.ID, Most: c.Limit}
	switch {
	case c.From < 0 || c.To < 0 || c.Limit < 0:
		return w, errors.New("dump: offsets and limits are not negative")
	case c.To > 0 && c.To <= c.From:
		return w, fmt.Errorf("dump: --to %d is not behind --from %d", c.To, c.From)
	case c.What == "queue" && c.Topic == "":
		return w, errors.New("dump queue: --topic is missing")
	case c.What == "index" && c.Key != "" && c.Topic == "":
		return w, errors.New("dump index: a key is looked up with its topic: --topic is missing")
	case c.Offset == "":
		return w, nil
	case c.Topic == "" || c.Queue < 0:
		return w, errors.New("dump: --offset needs --topic and --queue")
	}
	w.ByOffsets = true
	a, b, isRange := strings.Cut(c.Offset, "-")
	var err error
	if w.First, err = strconv.ParseInt(a, 10, 64); err != nil || w.First < 0 {
		return w, fmt.Errorf("dump: --offset %q is neither A nor A-B", c.Offset)
	}
	switch {
	case !isRange:
		w.Last = w.First
	case b != "":
		if w.Last, err = strconv.ParseInt(b, 10, 64); err != nil || w.Last < w.First {
			return w, fmt.Errorf("dump: --offset %q is neither A nor A-B", c.Offset)
		}
	}
	return w, nil
}

func (c *storeDumpCmd) log(ctx context.Context, d *inspect.Dir, w inspect.Want, out io.Writer) error {
	enc := json.NewEncoder(out)
	damaged, n := 0, 0
	err := d.Records(ctx, w, func(l inspect.Line) error {
		n++
		if l.Record == nil {
			damaged++
			if c.Output == "json" {
				return enc.Encode(map[string]any{"damaged": l.Why, "file": l.File, "physicalOffset": l.Offset, "length": l.Length, "queueOffset": l.QueueOffset})
			}
			_, err := fmt.Fprintf(out, "%d  DAMAGED  %d bytes  %s  %s\n", l.Offset, l.Length, l.File, l.Why)
			return err
		}
		if c.Output == "json" {
			return enc.Encode(c.fields(l))
		}
		return c.line(out, l)
	})
	if err == nil && n == 0 && (c.ID != "" || c.Key != "" || c.Offset != "") {
		return withCode(exitFailed, errors.New("dump: no such message"))
	}
	if err == nil && damaged > 0 {
		return withCode(exitCheck, fmt.Errorf("%d damaged places", damaged))
	}
	return err
}

func (c *storeDumpCmd) line(out io.Writer, l inspect.Line) error {
	r := l.Record
	var b strings.Builder
	fmt.Fprintf(&b, "%d  %s/%d@%d  %s  %d bytes", r.PhysicalOffset, r.Topic, r.QueueID, r.QueueOffset, stamp(r.StoreTimestamp), r.Size)
	for _, p := range []string{message.PropTags, message.PropKeys, message.PropUniqKey} {
		if v, ok := message.Property(r.Properties, p); ok {
			fmt.Fprintf(&b, "  %s=%s", p, v)
		}
	}
	if t := r.SysFlag & message.SysTransactionMask; t != 0 {
		fmt.Fprintf(&b, "  %s", []string{"", "PREPARED", "COMMIT", "ROLLBACK"}[t>>2])
	}
	if r.ReconsumeTimes > 0 {
		fmt.Fprintf(&b, "  reconsumed=%d", r.ReconsumeTimes)
	}
	fmt.Fprintf(&b, "  body=%d", len(r.Body))
	switch c.Body {
	case "text":
		fmt.Fprintf(&b, "  %q", r.Body)
	case "hex":
		fmt.Fprintf(&b, "  %x", r.Body)
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}

func (c *storeDumpCmd) fields(l inspect.Line) map[string]any {
	r := l.Record
	m := r.Message()
	f := map[string]any{"file": l.File, "physicalOffset": r.PhysicalOffset, "size": r.Size, "magic": fmt.Sprintf("%#x", r.Magic), "topic": string(r.Topic), "queueId": r.QueueID,
		"queueOffset": r.QueueOffset, "flag": r.Flag, "sysFlag": r.SysFlag, "bornTimestamp": r.BornTimestamp, "bornHost": host(m.BornHost),
		"storeTimestamp": r.StoreTimestamp, "storeHost": host(m.StoreHost), "reconsumeTimes": r.ReconsumeTimes, "preparedTransactionOffset": r.PreparedTransactionOffset,
		"bodyCRC": r.BodyCRC, "bodySize": len(r.Body), "properties": message.DecodeProperties(r.Properties), "msgId": message.OffsetID(m.StoreHost, r.PhysicalOffset)}
	switch c.Body {
	case "text":
		f["body"] = string(r.Body)
	case "hex":
		f["body"] = hex.EncodeToString(r.Body)
	}
	return f
}

func host(h netip.AddrPort) string { return h.String() }

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

func (c *storeDumpCmd) units(ctx context.Context, d *inspect.Dir, w inspect.Want, out io.Writer) error {
	enc := json.NewEncoder(out)
	n := int64(0)
	return d.Units(ctx, w, func(u inspect.UnitLine) error {
		if n++; c.Limit > 0 && n > c.Limit {
			return inspect.ErrEnough
		}
		if c.Output == "json" {
			return enc.Encode(map[string]any{"file": u.File, "queueOffset": u.Offset, "physicalOffset": u.Unit.Phys, "size": u.Unit.Size, "tagsCode": u.Unit.Tags, "filler": u.Unit.Filler()})
		}
		what := fmt.Sprintf("log %d  %d bytes  tags %d", u.Unit.Phys, u.Unit.Size, u.Unit.Tags)
		switch {
		case u.Unit.Filler() && u.Unit.Tags == 0:
			what = "filler before the first message"
		case u.Unit.Filler():
			what = "lost"
		case u.Unit.Size <= 0 || u.Unit.Phys < 0:
			what = "DAMAGED  " + what
		}
		_, err := fmt.Fprintf(out, "%d  %s  %s\n", u.Offset, what, u.File)
		return err
	})
}

func (c *storeDumpCmd) index(d *inspect.Dir, out io.Writer) error {
	enc := json.NewEncoder(out)
	if c.Key != "" {
		return d.Chain(c.Topic, c.Key, func(file string, number int32, e index.Entry) error {
			if c.Output == "json" {
				return enc.Encode(map[string]any{"file": file, "entry": number, "keyHash": e.Hash, "physicalOffset": e.Phys, "seconds": e.Seconds, "previous": e.Prev, "wanted": e.Hash == index.Hash(c.Topic, c.Key)})
			}
			mark := ""
			if e.Hash != index.Hash(c.Topic, c.Key) {
				mark = "  (another key of the same slot)"
			}
			_, err := fmt.Fprintf(out, "%s  entry %d  hash %d  log %d  +%d s  previous %d%s\n", file, number, e.Hash, e.Phys, e.Seconds, e.Prev, mark)
			return err
		})
	}
	files, err := d.Index()
	if err != nil {
		return err
	}
	for _, f := range files {
		h := f.Header
		if c.Output == "json" {
			err = enc.Encode(map[string]any{"file": f.File, "beginTimestamp": h.BeginTime, "endTimestamp": h.EndTime, "beginPhyOffset": h.BeginPhys, "endPhyOffset": h.EndPhys, "usedSlots": h.Slots, "entries": max(h.Next-1, 0), "slots": f.Slots, "maxEntries": f.Entries})
		} else {
			_, err = fmt.Fprintf(out, "%s  %d of %d entries, %d of %d slots used, log %d to %d, %s to %s\n", f.File, max(h.Next-1, 0), f.Entries-1, h.Slots, f.Slots, h.BeginPhys, h.EndPhys, stamp(h.BeginTime), stamp(h.EndTime))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *storeDumpCmd) checkpoint(std *streams) error {
	o, err := c.options(std)
	if err != nil {
		return err
	}
	if o.CheckpointFile == "" {
		o.CheckpointFile = c.Dir + "/checkpoint"
	}
	k, err := store.ReadCheckpoint(vfs.OS, o.CheckpointFile)
	if err != nil {
		return err
	}
	if !k.Found {
		return withCode(exitFailed, fmt.Errorf("%s is missing", o.CheckpointFile))
	}
	if c.Output == "json" {
		return json.NewEncoder(std.out).Encode(k)
	}
	fmt.Fprintf(std.out, "log      %s (%d)\nqueues   %s (%d)\nindex    %s (%d)\n", stamp(k.Phys), k.Phys, stamp(k.Logics), k.Logics, stamp(k.Index), k.Index)
	if k.Exact {
		_, err = fmt.Fprintf(std.out, "exact    everything below log offset %d is on the disk; the last record starts at %d\n", k.Safe, k.LastRecord)
	} else {
		_, err = fmt.Fprintln(std.out, "exact    no: written by a Java broker, or damaged")
	}
	return err
}
