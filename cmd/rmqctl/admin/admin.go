// Package admin holds the operator commands: mqadmin's names, options and layouts (those of 4.9), over internal/client.
// They serve a Java cluster as well as ours. Unlike mqadmin they end with a non-zero status when they fail.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/alecthomas/kong"

	"rmqctl/internal/client"
)

// Command is one row of the table of operator commands.
type Command struct {
	Name, Family, Help string
	// New makes the flags of one call; the flags run themselves.
	New func() Runner
}

// Runner is a struct of kong flags that does what they say.
type Runner interface{ Run(e *Env) error }

// Env is what a command may use.
type Env struct {
	Ctx context.Context
	Out io.Writer
	C   *client.Client
}

func (e *Env) printf(format string, args ...any) { fmt.Fprintf(e.Out, format, args...) }

// ErrUsage marks a wrong command line; what is wrong has been printed.
var ErrUsage = errors.New("wrong usage")

// target is the option every command has.
type target struct {
	NamesrvAddr string `short:"n" name:"namesrvAddr" placeholder:"A:9876;B:9876" help:"Name servers; else NAMESRV_ADDR."`
}

func (t target) addr() string { return t.NamesrvAddr }

// Run finds the command args[0] and runs it. namesrvDefault is used when no -n is given.
func Run(ctx context.Context, args []string, namesrvDefault string, out, errOut io.Writer) error {
	if len(args) == 0 || args[0] == "help" && len(args) == 1 || args[0] == "-h" || args[0] == "--help" {
		overview(out)
		return nil
	}
	if args[0] == "help" {
		args = []string{args[1], "--help"}
	}
	row := find(args[0])
	if row == nil {
		fmt.Fprintf(errOut, "The sub command %s not exist.%s\n", args[0], meant(args[0]))
		return ErrUsage
	}
	flags := row.New()
	exited := false
	parser, err := kong.New(flags, kong.Name("rmqctl admin "+row.Name), kong.Description(row.Help), kong.Writers(out, errOut),
		kong.Exit(func(int) { exited = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return err
	}
	_, err = parser.Parse(args[1:])
	if exited {
		return nil
	}
	if err != nil {
		fmt.Fprintf(errOut, "%s: %v; see 'rmqctl admin help %s'\n", row.Name, err, row.Name)
		return ErrUsage
	}
	ns := namesrvDefault
	if f, ok := flags.(interface{ addr() string }); ok && f.addr() != "" {
		ns = f.addr()
	}
	c, err := client.New(client.Options{NameServers: client.ParseNameServers(ns)})
	if err != nil {
		return err
	}
	defer c.Close()
	return flags.Run(&Env{Ctx: ctx, Out: out, C: c})
}

func find(name string) *Command {
	for i := range Commands {
		if strings.EqualFold(Commands[i].Name, name) {
			return &Commands[i]
		}
	}
	return nil
}

func overview(w io.Writer) {
	fmt.Fprintf(w, "The operator commands, with mqadmin's names and options, are:\n")
	for _, c := range Commands {
		fmt.Fprintf(w, "   %-20s %s\n", c.Name, c.Help)
	}
	fmt.Fprintf(w, "\nSee 'rmqctl admin help <command>' for more information on a specific command.\n")
}

func meant(name string) string {
	best, far := "", 4
	for _, c := range Commands {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(c.Name)); d < far {
			best, far = c.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return " Did you mean " + best + "?"
}

// Markdown is docs/COMMANDS.md: every command with its options.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Operator commands\n\nGenerated from cmd/rmqctl/admin; do not edit. `*` = must be given. Every command takes `-n`.\n\n")
	b.WriteString("| command | family | what it does | options |\n|---|---|---|---|\n")
	for _, c := range Commands {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Name, c.Family, c.Help, options(reflect.TypeOf(c.New()).Elem()))
	}
	return b.String()
}

// options lists the options of a struct; those that it embeds come with it, but for the one that every command has.
func options(t reflect.Type) string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type != reflect.TypeFor[target]() {
			out = append(out, options(f.Type))
		}
		if f.Anonymous || !f.IsExported() {
			continue
		}
		s := "`-" + f.Tag.Get("short") + " " + f.Tag.Get("name") + "`"
		if _, ok := f.Tag.Lookup("required"); ok {
			s += "*"
		}
		if xor := f.Tag.Get("xor"); xor != "" && i > 0 && t.Field(i-1).Tag.Get("xor") == xor { // exactly one of them
			out[len(out)-1] = strings.TrimSuffix(out[len(out)-1], "*") + " or " + s
			continue
		}
		if d := f.Tag.Get("default"); d != "" {
			s += " (" + d + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}
