// Package command is the command line `authorization-server`, which manages a running authorization server through
// Caddy's admin API.
package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "authorization-server",
		Short: "Manages the clients, users, tokens and sessions of a running authorization server",
		Long: `
Manages the clients, users, tokens and sessions of the authorization server that
is embedded in a running process, through its admin API. What it changes takes
effect at once and outlives restarts; clients and users of the configuration can
be disabled and enabled, and stay as they are otherwise.

The admin API is looked for at --address; otherwise where the configuration file
of --config says; otherwise at Caddy's default address. With 'admin off' in the
configuration there is none.

Secrets and passwords are read from standard input or asked for, and never taken
from the command line. They are hashed here: the admin API gets the hash.

The exit status is 0 if it is done, and 1 if not; standard error says why.
`,
		CobraFunc: build,
	})
}

func build(root *cobra.Command) {
	api := new(api)
	flags := root.PersistentFlags()
	flags.StringVar(&api.address, "address", "", "Address of the admin API")
	flags.StringVarP(&api.config, "config", "c", "", "Configuration file that says where the admin API is")
	flags.StringVarP(&api.adapter, "adapter", "a", "", "Name of the config adapter of that file")
	flags.BoolVar(&api.json, "json", false, "Write JSON")
	group := func(name, short string, commands ...*cobra.Command) {
		command := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: needsSubcommand}
		command.AddCommand(commands...)
		root.AddCommand(command)
	}
	group("client", "Manages clients", clientCommands(api)...)
	group("user", "Manages users", userCommands(api)...)
	group("token", "Lists and revokes tokens", tokenCommands(api)...)
	group("session", "Lists and ends sessions", sessionCommands(api)...)
	root.Args, root.RunE = cobra.NoArgs, needsSubcommand
	silence(root)
}

// silence keeps the usage out of errors, which say themselves what to do.
func silence(command *cobra.Command) {
	command.SilenceUsage = true
	for _, one := range command.Commands() {
		silence(one)
	}
}

func needsSubcommand(command *cobra.Command, _ []string) error {
	var names []string
	for _, one := range command.Commands() {
		if one.IsAvailableCommand() {
			names = append(names, one.Name())
		}
	}
	return fmt.Errorf("'%s' needs one of: %s", command.CommandPath(), strings.Join(names, ", "))
}

// exactly demands arguments, and calls them by their names where they are missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, arguments []string) error {
		if len(arguments) != len(names) {
			return fmt.Errorf("'%s' takes %s, and %d arguments were given: see '%[1]s --help'",
				command.CommandPath(), strings.Join(names, " and "), len(arguments))
		}
		return nil
	}
}

// write writes a document as JSON, or says it in words.
func (a *api) write(command *cobra.Command, document any, words func(*tabwriter.Writer)) error {
	out := command.OutOrStdout()
	if a.json {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(document)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	words(table)
	return table.Flush()
}

// done says that something is done, where nobody asked for JSON.
func (a *api) done(command *cobra.Command, format string, arguments ...any) error {
	if a.json {
		return a.write(command, struct{}{}, nil)
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), format+"\n", arguments...)
	return err
}

// row writes one line of a table. What others have chosen does not get to the terminal as it is.
func row(table *tabwriter.Writer, columns ...string) {
	for i, column := range columns {
		if column == "" {
			column = "-"
		}
		columns[i] = strings.Map(func(c rune) rune {
			if c < ' ' || c >= 0x7F && c < 0xA0 || c >= 0x202A && c <= 0x202E || c >= 0x2066 && c <= 0x2069 {
				return '?'
			}
			return c
		}, column)
	}
	_, _ = fmt.Fprintln(table, strings.Join(columns, "\t")) // Flush tells
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func status(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}
