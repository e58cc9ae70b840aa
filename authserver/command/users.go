package command

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/portcullis-gateway/portcullis/authserver"
)

const usersPath = "users"

func userPath(name string) string { return usersPath + "/" + url.PathEscape(name) }

func userCommands(a *api) []*cobra.Command {
	add := &cobra.Command{
		Use:   "add <name>",
		Short: "Adds a user",
		Long:  "Adds a user. The password is asked for twice, or read from standard input.",
		Example: `  portcullis authorization-server user add alice --claim email=alice@example.com --claim groups=staff --claim groups=admins
  portcullis authorization-server user add bob --scope orders:read < password.txt`,
		Args: exactly("the user's name"),
	}
	addSettings := userFlags(add)
	add.RunE = func(command *cobra.Command, arguments []string) error {
		members, err := addSettings()
		if err != nil {
			return err
		}
		if members["password_hash"], err = hashOf(command, "password"); err != nil {
			return err
		}
		members["name"] = arguments[0]
		return a.sendUser(command, http.MethodPost, usersPath, members, "added")
	}

	change := &cobra.Command{
		Use:   "change <name>",
		Short: "Changes a user",
		Long: `Changes what the flags say, and leaves the rest as it is. The scopes are
replaced, and so is each claim that is named; one without a value is removed.`,
		Args: exactly("the user's name"),
	}
	changeSettings := userFlags(change)
	change.RunE = func(command *cobra.Command, arguments []string) error {
		members, err := changeSettings()
		if err != nil {
			return err
		}
		if len(members) == 0 {
			return errors.New("nothing is to change: see --help for what can")
		}
		return a.sendUser(command, http.MethodPatch, userPath(arguments[0]), members, "changed")
	}

	password := &cobra.Command{
		Use:   "password <name>",
		Short: "Changes a user's password",
		Long: `Changes a user's password, which is asked for twice, or read from standard
input. All sessions of the user end. What clients have been authorized to do goes
on, unless --revoke-tokens takes it back.`,
		Args: exactly("the user's name"),
	}
	revokes := password.Flags().Bool("revoke-tokens", false, "Revoke all tokens of the user, too")
	password.RunE = func(command *cobra.Command, arguments []string) error {
		hash, err := hashOf(command, "password")
		if err != nil {
			return err
		}
		if err := a.sendUser(command, http.MethodPatch, userPath(arguments[0]), map[string]any{"password_hash": hash}, "changed"); err != nil || !*revokes {
			return err
		}
		return a.call(http.MethodPost, tokensPath+"/revoke", nil, map[string]string{"user": arguments[0]}, nil)
	}

	return []*cobra.Command{
		add, change, password,
		{
			Use: "list", Short: "Lists the users", Args: cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error { return a.listUsers(command) },
		},
		{
			Use: "show <name>", Short: "Shows a user", Args: exactly("the user's name"),
			RunE: func(command *cobra.Command, arguments []string) error { return a.showUser(command, arguments[0]) },
		},
		{
			Use: "disable <name>", Short: "Disables a user: the user's tokens are revoked, and the sessions end", Args: exactly("the user's name"),
			RunE: func(command *cobra.Command, arguments []string) error {
				return a.sendUser(command, http.MethodPatch, userPath(arguments[0]), map[string]any{"disabled": true}, "disabled")
			},
		},
		{
			Use: "enable <name>", Short: "Enables a user again, without the tokens and sessions of before", Args: exactly("the user's name"),
			RunE: func(command *cobra.Command, arguments []string) error {
				return a.sendUser(command, http.MethodPatch, userPath(arguments[0]), map[string]any{"disabled": false}, "enabled")
			},
		},
		{
			Use: "delete <name>", Short: "Deletes a user, with all tokens and sessions", Args: exactly("the user's name"),
			RunE: func(command *cobra.Command, arguments []string) error {
				if err := a.call(http.MethodDelete, userPath(arguments[0]), nil, nil, nil); err != nil {
					return err
				}
				return a.done(command, "The user %s is deleted.", arguments[0])
			},
		},
	}
}

// userFlags defines what can be said of a user, and returns what reads it: the members that were said.
func userFlags(command *cobra.Command) func() (map[string]any, error) {
	flags := command.Flags()
	claims := flags.StringArray("claim", nil, "A claim, as <name>=<value>; the same name again makes it an array (repeatable)")
	scopes := flags.StringArray("scope", nil, "A scope that the user can grant (repeatable); default: all that a client may have")
	return func() (map[string]any, error) {
		members := make(map[string]any)
		claim := make(map[string][]string)
		for _, text := range *claims {
			name, value, ok := strings.Cut(text, "=")
			if !ok || name == "" {
				return nil, fmt.Errorf("--claim %q: it is written <name>=<value>", text)
			}
			if value == "" {
				claim[name] = []string{}
				continue
			}
			claim[name] = append(claim[name], value)
		}
		if len(claim) > 0 {
			members["claim"] = claim
		}
		if flags.Changed("scope") {
			members["scopes"] = *scopes
		}
		return members, nil
	}
}

func (a *api) sendUser(command *cobra.Command, method, path string, members map[string]any, what string) error {
	var user authserver.UserStatus
	if err := a.call(method, path, nil, members, &user); err != nil {
		return err
	}
	return a.write(command, user, func(out *tabwriter.Writer) {
		row(out, fmt.Sprintf("The user %s is %s.", user.Name, what))
	})
}

func (a *api) listUsers(command *cobra.Command) error {
	users, err := list[authserver.UserStatus](a, usersPath, nil)
	if err != nil {
		return err
	}
	return a.write(command, users, func(table *tabwriter.Writer) {
		row(table, "NAME", "STATUS", "ORIGIN", "SCOPES", "ADDED")
		for _, user := range users {
			row(table, user.Name, status(user.Disabled), user.Origin, strings.Join(user.Scopes, " "), instant(user.CreatedAt))
		}
	})
}

func (a *api) showUser(command *cobra.Command, name string) error {
	var user authserver.UserStatus
	if err := a.call(http.MethodGet, userPath(name), nil, nil, &user); err != nil {
		return err
	}
	return a.write(command, user, func(table *tabwriter.Writer) {
		row(table, "Name", user.Name)
		row(table, "Status", status(user.Disabled))
		row(table, "Origin", user.Origin)
		row(table, "Scopes", strings.Join(user.Scopes, " "))
		row(table, "Added", instant(user.CreatedAt))
		for _, claim := range slices.Sorted(maps.Keys(user.Claim)) {
			row(table, "Claim "+claim, strings.Join(user.Claim[claim], ", "))
		}
	})
}
