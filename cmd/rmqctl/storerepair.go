// Mending a stopped store.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"rmqctl/broker/store/inspect"
)

type storeRepairCmd struct {
	storeFlags
	Yes bool `short:"y" help:"Do it. Without, the plan is printed and nothing is touched (exit code 4 when there is something to do)."`
}

// repairResult is what --output json prints.
type repairResult struct {
	Steps     []inspect.Step  `json:"steps"`
	Done      bool            `json:"done"`
	LostFound string          `json:"lostAndFound,omitempty"` // where everything is that was replaced
	After     *inspect.Report `json:"after,omitempty"`        // the check after the repair
}

func (c *storeRepairCmd) Run(ctx context.Context, std *streams) error {
	bar := progressOn(std.err)
	d, err := c.open(std, func(o *inspect.Options) { o.Progress = bar.show })
	if err != nil {
		return err
	}
	defer d.Close()
	plan, err := d.Plan(ctx)
	bar.clear()
	if err != nil {
		return err
	}
	res := repairResult{Steps: plan.Steps}
	if c.Output == "plain" {
		for _, s := range plan.Steps {
			fmt.Fprintf(std.out, "%s %s: %s\n", s.Do, s.File, s.Why)
		}
	}
	switch {
	case len(plan.Steps) == 0:
		return c.nothing(std, plan)
	case !c.Yes:
		return c.pending(std, res)
	}
	if res.LostFound, err = plan.Do(ctx, time.Now(), func(inspect.Step) {}); err != nil {
		if res.LostFound != "" {
			err = &hinted{storeError(err), "run it again: it goes on where it stopped; what was replaced lies in " + res.LostFound}
		}
		return storeError(err)
	}
	bar.clear()
	return c.after(ctx, std, res)
}

// nothing: there is nothing to do, which does not always mean that all is well.
func (c *storeRepairCmd) nothing(std *streams, plan *inspect.Plan) error {
	if c.Output == "json" {
		if err := json.NewEncoder(std.out).Encode(repairResult{Steps: plan.Steps, After: plan.Report}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(std.out, "nothing to do")
	}
	if !plan.Report.Clean {
		return withCode(exitCheck, &hinted{fmt.Errorf("%s is damaged in %s that repair cannot mend", c.Dir, places(plan.Report)), "`rmqctl store check " + c.Dir + "` names them"})
	}
	return nil
}

func (c *storeRepairCmd) pending(std *streams, res repairResult) error {
	if c.Output == "json" {
		if err := json.NewEncoder(std.out).Encode(res); err != nil {
			return err
		}
		return withCode(exitPending, errQuiet)
	}
	fmt.Fprintf(std.out, "%d steps; nothing was touched. What they replace would be kept in %s/lost+found.\n", len(res.Steps), c.Dir)
	return withCode(exitPending, &hinted{fmt.Errorf("%d steps to do", len(res.Steps)), "`rmqctl store repair --yes " + c.Dir + "` does them"})
}

// after checks once more.
func (c *storeRepairCmd) after(ctx context.Context, std *streams, res repairResult) error {
	d, err := c.open(std, func(*inspect.Options) {})
	if err != nil {
		return err
	}
	defer d.Close()
	r, err := d.Check(ctx)
	if err != nil {
		return err
	}
	res.Done, res.After = true, r
	if c.Output == "json" {
		err = json.NewEncoder(std.out).Encode(res)
	} else {
		fmt.Fprintf(std.out, "%d steps done; what they replaced lies in %s\n", len(res.Steps), res.LostFound)
		err = printReport(std.out, r)
	}
	if err == nil && !r.Clean {
		err = withCode(exitCheck, fmt.Errorf("%s is still damaged in %s", c.Dir, places(r)))
	}
	return err
}
