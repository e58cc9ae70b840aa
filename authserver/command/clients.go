package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/authserver"
)

const clientsPath = "clients"

func clientPath(id string) string { return clientsPath + "/" + url.PathEscape(id) }

func clientCommands(a *api) []*cobra.Command {
	add := &cobra.Command{
		Use:   "add <id>",
		Short: "Adds a client",
		Long: `Adds a client. With --generate its secret is made up, and shown this once; with
--secret-stdin it is read. A client with --jwks or --jwks-uri signs instead, and
one with '--auth none' has nothing to authenticate by.`,
		Example: `  portcullis authorization-server client add backend --generate --grant client_credentials --scope orders:read
  portcullis authorization-server client add spa --auth none --grant authorization_code --redirect-uri https://app.example.com/cb --scope orders:read
  portcullis authorization-server client add gateway --secret-stdin --introspect < secret.txt`,
		Args: exactly("the client's id"),
	}
	addSettings := clientFlags(add)
	add.RunE = func(command *cobra.Command, arguments []string) error {
		members, err := addSettings()
		if err != nil {
			return err
		}
		members["id"] = arguments[0]
		return a.sendClient(command, http.MethodPost, clientsPath, members, "added")
	}

	change := &cobra.Command{
		Use:   "change <id>",
		Short: "Changes a client",
		Long:  "Changes what the flags say, and leaves the rest as it is. A list, such as that of the scopes, is replaced.",
		Args:  exactly("the client's id"),
	}
	changeSettings := clientFlags(change)
	keep := change.Flags().Duration("keep", 0, "How long the secret before goes on, where --generate or --secret-stdin replaces it, such as 24h")
	change.RunE = func(command *cobra.Command, arguments []string) error {
		members, err := changeSettings()
		if err != nil {
			return err
		}
		if *keep != 0 {
			members["keep_secret"] = int64(*keep / time.Second)
		}
		if len(members) == 0 {
			return errors.New("nothing is to change: see --help for what can")
		}
		return a.sendClient(command, http.MethodPatch, clientPath(arguments[0]), members, "changed")
	}

	return []*cobra.Command{
		add, change,
		{
			Use: "list", Short: "Lists the clients", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return a.listClients(command) },
		},
		{
			Use: "show <id>", Short: "Shows a client", Args: exactly("the client's id"),
			RunE: func(command *cobra.Command, arguments []string) error { return a.showClient(command, arguments[0]) },
		},
		{
			Use: "disable <id>", Short: "Disables a client: its tokens are revoked, and it gets no others", Args: exactly("the client's id"),
			RunE: func(command *cobra.Command, arguments []string) error {
				return a.sendClient(command, http.MethodPatch, clientPath(arguments[0]), map[string]any{"disabled": true}, "disabled")
			},
		},
		{
			Use: "enable <id>", Short: "Enables a client again, without the tokens that it had", Args: exactly("the client's id"),
			RunE: func(command *cobra.Command, arguments []string) error {
				return a.sendClient(command, http.MethodPatch, clientPath(arguments[0]), map[string]any{"disabled": false}, "enabled")
			},
		},
		{
			Use: "delete <id>", Short: "Deletes a client and revokes its tokens", Args: exactly("the client's id"),
			RunE: func(command *cobra.Command, arguments []string) error {
				if err := a.call(http.MethodDelete, clientPath(arguments[0]), nil, nil, nil); err != nil {
					return err
				}
				return a.done(command, "The client %s is deleted.", arguments[0])
			},
		},
	}
}

// clientFlags defines what can be said of a client, and returns what reads it: the members that were said.
func clientFlags(command *cobra.Command) func() (map[string]any, error) {
	flags := command.Flags()
	lists := map[string]*[]string{
		"grants":         flags.StringArray("grant", nil, "A grant type that the client may use (repeatable): authorization_code, refresh_token, client_credentials, …"),
		"redirect_uris":  flags.StringArray("redirect-uri", nil, "Where users are sent back to, to the byte (repeatable)"),
		"scopes":         flags.StringArray("scope", nil, "A scope that the client may have (repeatable)"),
		"default_scopes": flags.StringArray("default-scope", nil, "A scope that the client gets if it asks for none (repeatable); default: all"),
		"audiences":      flags.StringArray("audience", nil, "A resource that the client may ask tokens for (repeatable)"),
	}
	texts := map[string]*string{
		"auth":     flags.String("auth", "", "How the client authenticates: client_secret_basic, client_secret_post, private_key_jwt or none"),
		"name":     flags.String("name", "", "A name for people"),
		"jwks_uri": flags.String("jwks-uri", "", "Where the client publishes its keys, for private_key_jwt"),
	}
	switches := map[string]*bool{
		"introspect": flags.Bool("introspect", false, "The client may ask about any token"),
		"trusted":    flags.Bool("trusted", false, "Users are not asked whether they consent"),
	}
	jwks := flags.String("jwks", "", "File with the client's public keys, for private_key_jwt")
	generate := flags.Bool("generate", false, "Make up the client's secret, and show it")
	read := flags.Bool("secret-stdin", false, "Read the client's secret from standard input")
	names := map[string]string{
		"grants": "grant", "redirect_uris": "redirect-uri", "scopes": "scope", "default_scopes": "default-scope", "audiences": "audience", "jwks_uri": "jwks-uri",
	}
	said := func(member string) bool {
		name := names[member]
		if name == "" {
			name = member
		}
		return flags.Changed(name)
	}
	return func() (map[string]any, error) {
		members := make(map[string]any)
		for member, value := range lists {
			if said(member) {
				members[member] = *value
			}
		}
		for member, value := range texts {
			if said(member) {
				members[member] = *value
			}
		}
		for member, value := range switches {
			if said(member) {
				members[member] = *value
			}
		}
		if *jwks != "" {
			keys, err := os.ReadFile(*jwks)
			if err != nil {
				return nil, fmt.Errorf("--jwks: %w", err)
			}
			if !json.Valid(keys) {
				return nil, fmt.Errorf("--jwks: %s holds no JSON", *jwks)
			}
			members["jwks"] = json.RawMessage(keys)
		}
		switch {
		case *generate && *read:
			return nil, errors.New("of --generate and --secret-stdin there can be one")
		case *generate:
			members["generate_secret"] = true
		case *read:
			hash, err := hashOf(command, "client secret")
			if err != nil {
				return nil, err
			}
			members["secret_hash"] = hash
		}
		return members, nil
	}
}

func (a *api) sendClient(command *cobra.Command, method, path string, members map[string]any, what string) error {
	var client authserver.ClientStatus
	if err := a.call(method, path, nil, members, &client); err != nil {
		return err
	}
	return a.write(command, client, func(out *tabwriter.Writer) {
		row(out, fmt.Sprintf("The client %s is %s.", client.ID, what))
		if client.Secret != "" {
			row(out, "Its secret, which is not shown again: "+client.Secret)
		}
	})
}

func (a *api) listClients(command *cobra.Command) error {
	clients, err := list[authserver.ClientStatus](a, clientsPath, nil)
	if err != nil {
		return err
	}
	return a.write(command, clients, func(table *tabwriter.Writer) {
		row(table, "ID", "NAME", "STATUS", "ORIGIN", "GRANTS", "SCOPES", "LAST USED")
		for _, client := range clients {
			row(table, client.ID, client.Name, status(client.Disabled), client.Origin,
				strings.Join(client.Grants, " "), strings.Join(client.Scopes, " "), instant(client.LastUsedAt))
		}
	})
}

func (a *api) showClient(command *cobra.Command, id string) error {
	var client authserver.ClientStatus
	if err := a.call(http.MethodGet, clientPath(id), nil, nil, &client); err != nil {
		return err
	}
	return a.write(command, client, func(table *tabwriter.Writer) {
		var may []string
		if client.Introspect {
			may = append(may, "introspect")
		}
		if client.Trusted {
			may = append(may, "trusted")
		}
		keys := client.JWKSURI
		if client.JWKS != nil {
			keys = "given"
		}
		for _, line := range [][2]string{
			{"ID", client.ID},
			{"Name", client.Name},
			{"Status", status(client.Disabled)},
			{"Origin", client.Origin},
			{"Authentication", client.Auth},
			{"Keys", keys},
			{"Grants", strings.Join(client.Grants, " ")},
			{"Redirect URIs", strings.Join(client.RedirectURIs, " ")},
			{"Scopes", strings.Join(client.Scopes, " ")},
			{"Default scopes", strings.Join(client.DefaultScopes, " ")},
			{"Audiences", strings.Join(client.Audiences, " ")},
			{"Rights", strings.Join(may, " ")},
			{"Added", instant(client.CreatedAt)},
			{"Last used", instant(client.LastUsedAt)},
			{"Expires", instant(client.ExpiresAt)},
		} {
			row(table, line[0], line[1])
		}
	})
}
