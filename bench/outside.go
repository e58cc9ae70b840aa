package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// figures are what a server has done, round by round.
type figures struct {
	cpu  sample // microseconds for each request
	rate sample // requests per second
}

// outside measures the gateway and others like it by what they answer and by the CPU time that the system counts.
func (b *bench) outside(ctx context.Context) (err error) {
	wrk, err := find("wrk", "wrk")
	if err != nil {
		b.say("outside: skipped: %v", err)
		return nil
	}
	dir, err := os.MkdirTemp("", "portcullis-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := &wrkProgram{path: wrk, script: filepath.Join(dir, "tokens.lua"), seconds: b.outsideSeconds}
	script, err := peerFiles.ReadFile("peers/tokens.lua")
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.script, script, 0o600); err != nil {
		return err
	}
	servers, err := b.startServers(ctx, dir)
	defer func() {
		failed := err != nil
		for _, s := range servers {
			err = errors.Join(err, s.stop())
			if written := s.written(); failed && written != "" {
				b.say("%s wrote:\n%s", s.name, written)
			}
		}
	}()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		warm int // tokens that each server remembers before
		// tokens are those of a round: the number of the first, and how many.
		tokens func(round int) (first, count int)
	}{
		{"always the same token", 1, func(int) (int, int) { return 0, 1 }},
		{fmt.Sprintf("%d tokens in turn", b.outsideTokens), b.outsideTokens, func(int) (int, int) { return 0, b.outsideTokens }},
		{"always a new token", 0, func(round int) (int, int) { return firstNew * (round + 1), firstNew }},
	} {
		all := make([]figures, len(servers))
		if c.warm > 0 {
			for _, s := range servers {
				if _, err := b.send(ctx, Plan{Address: s.address, Requests: c.warm, Tokens: c.warm}); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
			}
		}
		for round := range b.outsideRounds {
			for i, s := range servers {
				first, count := c.tokens(round)
				cpu, rate, err := w.measure(ctx, s, first, count)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, c.name, err)
				}
				all[i].cpu = append(all[i].cpu, cpu)
				all[i].rate = append(all[i].rate, rate)
			}
		}
		b.table(fmt.Sprintf("From outside, %s, %d rounds of %d s", c.name, b.outsideRounds, b.outsideSeconds), outsideRows(servers, all)...)
	}
	return nil
}

func outsideRows(servers []*server, all []figures) [][]string {
	rows := [][]string{{"server", "CPU, µs per request", "over bare", "requests per second", "of bare"}}
	byName := make(map[string]figures)
	for i, s := range servers {
		byName[s.name] = all[i]
	}
	for i, s := range servers {
		row := []string{s.name, all[i].cpu.show(1), "", all[i].rate.show(0), ""}
		if bare, ok := byName[s.bare]; ok {
			row[2] = all[i].cpu.minus(bare.cpu).showDifference(1)
			row[4] = all[i].rate.over(bare.rate).show(2)
		}
		rows = append(rows, row)
	}
	return rows
}

// startServers starts those servers that are installed.
func (b *bench) startServers(ctx context.Context, dir string) (servers []*server, err error) {
	for i, starter := range starters {
		addresses, err := freeAddresses(1)
		if err != nil {
			return servers, err
		}
		s := &server{name: starter.name, bare: starter.bare, address: addresses[0]}
		own := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(own, 0o700); err != nil {
			return servers, err
		}
		err = starter.start(b, ctx, s, own)
		if errors.As(err, new(missing)) {
			b.say("%s: skipped: %v", s.name, err)
			continue
		}
		servers = append(servers, s)
		if err == nil {
			err = s.await(ctx)
		}
		if err == nil {
			err = s.check(ctx)
		}
		if err != nil {
			return servers, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return servers, nil
}

// patience is how long a server may take to start.
const patience = 30 * time.Second

// await waits until the server answers.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		_, _, err := s.get(ctx, token(0))
		if err == nil {
			return nil
		}
		for _, p := range s.programs {
			select {
			case <-p.exited:
				return errors.New("it has ended")
			default:
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-retry.C:
		}
	}
}

// check holds the server to what it is there for: a good token passes and its user is told to the backend, and nothing
// else passes a server that protects.
func (s *server) check(ctx context.Context) error {
	protects := s.bare != "" && s.name != dressedCaddy
	status, body, err := s.get(ctx, token(7))
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("a good token is answered %d", status)
	case protects && !strings.Contains(body, `"user":"user7"`):
		return fmt.Errorf("the backend was not told the user: %s", body)
	}
	for name, token := range map[string]string{"a bad token": "bad", "no token": ""} {
		status, _, err := s.get(ctx, token)
		if err != nil {
			return err
		}
		if passed := status == http.StatusOK; passed == protects {
			return fmt.Errorf("%s is answered %d", name, status)
		}
	}
	return nil
}

func (s *server) get(ctx context.Context, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/orders/4711", nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text := new(strings.Builder)
	err = response.Write(text)
	return response.StatusCode, text.String(), err
}

// wrkProgram is the load generator wrk.
type wrkProgram struct {
	path    string
	script  string
	seconds int
}

// measure lets wrk ask a server with so many tokens from the first number on, and returns the CPU time of the server for
// each request, in microseconds, and the requests per second.
func (w *wrkProgram) measure(ctx context.Context, s *server, first, count int) (cpu, rate float64, err error) {
	before, err := treeCPU(s.pids()...)
	if err != nil {
		return 0, 0, err
	}
	command := exec.CommandContext(ctx, w.path, "-t", "1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(w.seconds)+"s",
		"-s", w.script, "http://"+s.address, "--", strconv.Itoa(first), strconv.Itoa(count))
	output, err := command.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	after, err := treeCPU(s.pids()...)
	if err != nil {
		return 0, 0, err
	}
	requests, elapsed, err := parseFigures(string(output))
	if err != nil {
		return 0, 0, err
	}
	return float64((after - before).Microseconds()) / float64(requests), float64(requests) / elapsed.Seconds(), nil
}

// parseFigures reads what peers/tokens.lua writes at the end.
func parseFigures(output string) (requests int, elapsed time.Duration, err error) {
	var microseconds, failed int
	_, line, _ := strings.Cut(output, "figures ")
	if _, err := fmt.Sscanf(line, "%d %d %d", &requests, &microseconds, &failed); err != nil {
		return 0, 0, fmt.Errorf("wrk wrote no figures: %w\n%s", err, output)
	}
	switch {
	case failed > 0:
		return 0, 0, fmt.Errorf("%d of %d requests failed", failed, requests)
	case requests == 0:
		return 0, 0, errors.New("no request was answered")
	}
	return requests, time.Duration(microseconds) * time.Microsecond, nil
}
