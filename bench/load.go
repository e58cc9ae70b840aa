package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Load sends requests.
type Load struct{}

func newLoad() (any, error) { return &Load{}, nil }

// connections is how many clients come at the same time.
const connections = 32

// Plan says what is sent to whom.
type Plan struct {
	Address     string
	Connections int
	Requests    int

	// First is the number of the first token, and Tokens how many there are.
	First, Tokens int
	// Repeat is how often each token is sent before the next one has its turn.
	Repeat int
	// Random picks tokens at random instead of taking turns.
	Random bool
	// Text is what is sent instead of requests with tokens, if it is not empty.
	Text string
}

// text writes a request.
func (p *Plan) text(into []byte, request int) []byte {
	if p.Text != "" {
		return append(into, p.Text...)
	}
	return fmt.Appendf(into, requestText, p.number(request))
}

// number is the number of the token of a request.
func (p *Plan) number(request int) int {
	if p.Random {
		return p.First + rand.IntN(p.Tokens)
	}
	return p.First + request/max(p.Repeat, 1)%p.Tokens
}

// Sent is how sending went.
type Sent struct {
	// Elapsed is how long it took from the moment that all connections were open.
	Elapsed time.Duration
	// Slowest is how long the slowest answer took.
	Slowest time.Duration
}

// Send sends what the plan says. All connections are opened before the first request is sent. A response other than 200
// is an error.
func (*Load) Send(plan Plan, sent *Sent) error {
	clients := make([]*sender, plan.Connections)
	for i := range clients {
		connection, err := net.Dial("tcp", plan.Address)
		if err != nil {
			return err
		}
		defer connection.Close()
		clients[i] = &sender{connection: connection, reader: bufio.NewReader(connection)}
	}
	var (
		group sync.WaitGroup
		next  atomic.Int64
	)
	failures := make([]error, plan.Connections)
	begin := time.Now()
	for i, client := range clients {
		group.Go(func() {
			for request := int(next.Add(1)) - 1; request < plan.Requests; request = int(next.Add(1)) - 1 {
				if failures[i] = client.send(plan.text(client.request[:0], request)); failures[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	sent.Elapsed = time.Since(begin)
	for _, client := range clients {
		sent.Slowest = max(sent.Slowest, client.slowest)
	}
	return errors.Join(failures...)
}

// sender is a client on a connection of its own.
type sender struct {
	connection net.Conn
	reader     *bufio.Reader
	request    []byte
	slowest    time.Duration
}

func (s *sender) send(request []byte) error {
	s.request = request
	begin := time.Now()
	if _, err := s.connection.Write(s.request); err != nil {
		return err
	}
	response, err := http.ReadResponse(s.reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	s.slowest = max(s.slowest, time.Since(begin))
	if response.StatusCode != http.StatusOK {
		line, _, _ := bytes.Cut(request, []byte("\r"))
		return fmt.Errorf("%s is answered %s", line, response.Status)
	}
	return nil
}

// requestText is a request with the token of a number. The requests of peers/tokens.lua are the same.
const requestText = "GET /orders/4711 HTTP/1.1\r\n" +
	"Host: api.example.com\r\n" +
	"Accept: application/json\r\n" +
	"Accept-Encoding: gzip\r\n" +
	"User-Agent: bench\r\n" +
	"Authorization: Bearer " + tokenFormat + "\r\n\r\n"
