// Command rmqctl deploys and runs a RocketMQ-compatible message cluster: one binary that is name server, broker,
// deploy tool, host agent and operator's console.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are the three files a command may use; nobody else touches os.Stdin, os.Stdout and os.Stderr.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is the program without the process: arguments and streams in, exit code out.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	std := &streams{in: in, out: out, err: errOut}
	var cli root
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("rmqctl"),
		kong.Description(description),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
		kong.ExplicitGroups(groups),
		kong.Vars{"version": versionLine()},
	)
	if err != nil {
		fmt.Fprintln(errOut, "rmqctl:", err)
		return exitUsage
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help":
		args = append(args[1:len(args):len(args)], "--help")
	}
	cmd, err := parser.Parse(args)
	if exit >= 0 { // --help or --version has printed what was asked
		return exit
	}
	if err != nil {
		fmt.Fprintf(errOut, "rmqctl: %v\nsee: rmqctl %s\n", err, helpFor(err))
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	cmd.BindTo(ctx, (*context.Context)(nil))
	cmd.Bind(std)
	return report(std, cmd.Run())
}

// helpFor is the call that prints the help of the command which a wrong command line has come to.
func helpFor(err error) string {
	var perr *kong.ParseError
	if !errors.As(err, &perr) || perr.Context == nil || perr.Context.Selected() == nil {
		return "--help"
	}
	return perr.Context.Selected().Path() + " --help"
}
