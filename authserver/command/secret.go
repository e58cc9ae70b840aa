package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// maxSecret is the longest secret or password that can be used, in bytes.
const maxSecret = 1024

// readSecret asks for a secret twice, where somebody sits at a terminal, or else reads the first line of standard input.
func readSecret(command *cobra.Command, what string) (string, error) {
	in := command.InOrStdin()
	secret := ""
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		var err error
		if secret, err = ask(command.ErrOrStderr(), int(file.Fd()), what); err != nil {
			return "", err
		}
	} else {
		line, err := bufio.NewReader(io.LimitReader(in, maxSecret+3)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the %s: %w", what, err)
		}
		secret = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	}
	switch {
	case secret == "":
		return "", fmt.Errorf("the %s is empty: write it to standard input, as one line", what)
	case len(secret) > maxSecret:
		return "", fmt.Errorf("the %s has more than %d bytes", what, maxSecret)
	}
	return secret, nil
}

// ask asks twice without showing what is typed. The terminal shows again what is typed when somebody interrupts it.
func ask(out io.Writer, terminal int, what string) (string, error) {
	state, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)
	go func() {
		if _, ok := <-interrupted; ok {
			_ = term.Restore(terminal, state)
			os.Exit(1)
		}
	}()
	var typed [2]string
	for i, prompt := range []string{"Enter the %s: ", "The same again: "} {
		if i == 0 {
			prompt = fmt.Sprintf(prompt, what)
		}
		_, _ = io.WriteString(out, prompt) // what follows fails, too
		text, err := term.ReadPassword(terminal)
		_, _ = io.WriteString(out, "\n")
		if err != nil {
			return "", fmt.Errorf("reading the %s: %w", what, err)
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", fmt.Errorf("the two are not the same %s", what)
	}
	return typed[0], nil
}

// hashOf reads a secret and hashes it.
func hashOf(command *cobra.Command, what string) (string, error) {
	secret, err := readSecret(command, what)
	if err != nil {
		return "", err
	}
	return authserver.HashSecret(secret), nil
}
