package command

import (
	"errors"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/authserver"
)

const (
	tokensPath   = "tokens"
	sessionsPath = "sessions"
)

func tokenCommands(a *api) []*cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens of a user, of a client, or of a user at a client",
		Long:  "Lists the active tokens of a user, of a client, or of a user at a client: what is known of them, and never the tokens.",
		Args:  cobra.NoArgs,
	}
	user := list.Flags().String("user", "", "Whose tokens")
	client := list.Flags().String("client", "", "The tokens of which client")
	all := list.Flags().Bool("all", false, "Those that are not active, too")
	list.RunE = func(command *cobra.Command, _ []string) error { return a.listTokens(command, *user, *client, *all) }

	revoke := &cobra.Command{
		Use:   "revoke [<token> | -]",
		Short: "Revokes tokens",
		Long: `Revokes one token, which is given or, with '-', read from standard input, where
others do not see it; with a refresh token all that came of the same
authorization. Or, with the flags, all tokens of a family, a user or a client.`,
		Args: cobra.MaximumNArgs(1),
	}
	family := revoke.Flags().String("family", "", "All tokens that came of one authorization, as 'token list' shows it")
	ofUser := revoke.Flags().String("user", "", "All tokens of a user")
	ofClient := revoke.Flags().String("client", "", "All tokens of a client; with --user, those of the user at the client")
	revoke.RunE = func(command *cobra.Command, arguments []string) error {
		which := make(map[string]string)
		for member, value := range map[string]string{"family": *family, "user": *ofUser, "client": *ofClient} {
			if value != "" {
				which[member] = value
			}
		}
		if len(arguments) == 1 {
			which["token"] = arguments[0]
			if arguments[0] == "-" {
				token, err := readSecret(command, "token")
				if err != nil {
					return err
				}
				which["token"] = token
			}
		}
		if len(which) == 0 {
			return errors.New("which tokens? Name one, or '-' to read it, or --family, --user or --client")
		}
		if err := a.call(http.MethodPost, tokensPath+"/revoke", nil, which, nil); err != nil {
			return err
		}
		return a.done(command, "Revoked.")
	}
	return []*cobra.Command{list, revoke}
}

func (a *api) listTokens(command *cobra.Command, user, client string, all bool) error {
	query := make(url.Values)
	for name, value := range map[string]string{"user": user, "client": client} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(query) == 0 {
		return errors.New("whose tokens? Name --user or --client, or both")
	}
	if all {
		query.Set("all", "true")
	}
	tokens, err := list[authserver.TokenStatus](a, tokensPath, query)
	if err != nil {
		return err
	}
	return a.write(command, tokens, func(table *tabwriter.Writer) {
		row(table, "ID", "KIND", "STATUS", "CLIENT", "SUBJECT", "SCOPE", "EXPIRES", "FAMILY")
		for _, token := range tokens {
			row(table, token.ID, string(token.Kind), statusOfToken(token), token.ClientID, token.Subject, token.Scope, instant(token.ExpiresAt), token.Family)
		}
	})
}

func statusOfToken(token authserver.TokenStatus) string {
	switch {
	case token.Active:
		return "active"
	case token.Revoked:
		return "revoked"
	case token.Rotated:
		return "rotated"
	}
	return "inactive"
}

func sessionCommands(a *api) []*cobra.Command {
	list := &cobra.Command{Use: "list", Short: "Lists the sessions of a user", Args: cobra.NoArgs}
	user := list.Flags().String("user", "", "Whose sessions (required)")
	list.RunE = func(command *cobra.Command, _ []string) error {
		if *user == "" {
			return errors.New("whose sessions? Name --user")
		}
		return a.listSessions(command, *user)
	}

	revoke := &cobra.Command{
		Use:   "revoke [<id>]",
		Short: "Ends one session, as 'session list' shows it, or with --user all of a user",
		Args:  cobra.MaximumNArgs(1),
	}
	ofUser := revoke.Flags().String("user", "", "All sessions of a user")
	revoke.RunE = func(command *cobra.Command, arguments []string) error {
		which := make(map[string]string)
		if *ofUser != "" {
			which["user"] = *ofUser
		}
		if len(arguments) == 1 {
			which["id"] = arguments[0]
		}
		if len(which) != 1 {
			return errors.New("which sessions? Either the id of one, or --user")
		}
		if err := a.call(http.MethodPost, sessionsPath+"/revoke", nil, which, nil); err != nil {
			return err
		}
		return a.done(command, "Ended.")
	}
	return []*cobra.Command{list, revoke}
}

func (a *api) listSessions(command *cobra.Command, user string) error {
	sessions, err := list[authserver.SessionStatus](a, sessionsPath, url.Values{"user": {user}})
	if err != nil {
		return err
	}
	return a.write(command, sessions, func(table *tabwriter.Writer) {
		row(table, "ID", "USER", "EXPIRES")
		for _, session := range sessions {
			row(table, session.ID, session.User, instant(session.ExpiresAt))
		}
	})
}
