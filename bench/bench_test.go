package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if plays, err := playRole(); plays {
		exit(err)
	}
	os.Exit(m.Run())
}

func TestSample(t *testing.T) {
	s := sample{4, 1, 3, 2}
	assert.InDelta(t, 2.5, s.median(), 1e-9)
	assert.InDelta(t, 2.5, s.mean(), 1e-9)
	assert.InDelta(t, 1, s.quantile(0), 1e-9)
	assert.InDelta(t, 4, s.quantile(1), 1e-9)
	assert.Equal(t, "2.5 (1.8 to 3.2)", s.show(1))
	assert.Equal(t, sample{4, 1, 3, 2}, s, "the order of the rounds stays")
	assert.Equal(t, sample{3, 0, 2, 1}, s.minus(sample{1, 1, 1, 1}))
	assert.Equal(t, sample{2, 0.5, 1.5, 1}, s.over(sample{2, 2, 2, 2}))
}

func TestADifferenceThatIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		difference sample
		expected   string
	}{
		"dearer in every round":  {sample{2, 3, 4}, "3 (2 to 4)"},
		"cheaper in every round": {sample{-2, -3, -4}, "-3 (-4 to -2)"},
		"dearer in most rounds":  {sample{-1, 3, 4}, "3 (1 to 4)"},
		"now and then":           {sample{-4, -2, 1, 3, 4}, "1 (-2 to 3), cannot be told apart"},
		"equal in most rounds":   {sample{0, 0, 3}, "0 (0 to 2), cannot be told apart"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.expected, c.difference.showDifference(0)) })
	}
}

func TestHistogram(t *testing.T) {
	bounds := []float64{0, 1, 2, math.Inf(1)}
	later := Histogram{[]uint64{9, 1, 2}, bounds}
	h := later.since(Histogram{[]uint64{1, 0, 1}, bounds})
	assert.EqualValues(t, 10, h.total())
	assert.InDelta(t, 1, h.quantile(0.5), 1e-9)
	assert.InDelta(t, 2, h.quantile(0.9), 1e-9)
	assert.InDelta(t, 2, h.quantile(1), 1e-9, "the last bound that is known")
	assert.Zero(t, later.since(later).quantile(0.5))
}

func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		plan     Plan
		expected []int
	}{
		"one":     {Plan{First: 7, Tokens: 1}, []int{7, 7, 7, 7, 7, 7}},
		"in turn": {Plan{Tokens: 3}, []int{0, 1, 2, 0, 1, 2}},
		"twice":   {Plan{First: 10, Tokens: 2, Repeat: 2}, []int{10, 10, 11, 11, 10, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			for request, number := range c.expected {
				assert.Equal(t, number, c.plan.number(request))
			}
		})
	}
	random := Plan{First: 5, Tokens: 2, Random: true}
	seen := make(map[int]bool)
	for request := range 1000 {
		seen[random.number(request)] = true
	}
	assert.Equal(t, map[int]bool{5: true, 6: true}, seen)
}

func TestParseFigures(t *testing.T) {
	requests, elapsed, err := parseFigures("Running 2s test\nfigures 1234 2000123 0\n")
	require.NoError(t, err)
	assert.Equal(t, 1234, requests)
	assert.Equal(t, 2000123*time.Microsecond, elapsed)
	for output, complaint := range map[string]string{
		"unable to connect":    "no figures",
		"figures 10 2000000 3": "3 of 10 requests failed",
		"figures 0 2000000 0":  "no request was answered",
	} {
		_, _, err := parseFigures(output)
		assert.ErrorContains(t, err, complaint)
	}
}

func TestParseStat(t *testing.T) {
	s, err := parseStat("12 (a) R (b) S 3 1 1 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5")
	require.NoError(t, err)
	assert.Equal(t, stat{pid: 12, parent: 3, used: 1270 * time.Millisecond}, s)
	for _, line := range []string{"", "12 (a) S 3", "12 a S 3 1 1 0 -1 4194560 1 2 3 4 100 20 3 4 20 0", "12 (a) S 3 1 1 0 -1 4194560 1 2 3 4 x 20 3 4 20 0"} {
		_, err := parseStat(line)
		assert.Error(t, err, line)
	}
}

func TestTreeCPU(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux")
	}
	// The shell ends a child that has worked for a while, then waits for the end of its input.
	shell := exec.Command("sh", "-c", `(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done); echo done; read line`)
	input, err := shell.StdinPipe()
	require.NoError(t, err)
	output, err := shell.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, shell.Start())
	_, err = fmt.Fscanln(output, new(string))
	require.NoError(t, err)
	used, err := treeCPU(shell.Process.Pid)
	require.NoError(t, err)
	assert.Positive(t, used)
	own, err := treeCPU(os.Getpid())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, own, used, "a child belongs to its parent")
	require.NoError(t, input.Close())
	_ = shell.Wait() // read has failed
	_, err = treeCPU(shell.Process.Pid)
	assert.ErrorContains(t, err, "has ended")
}

// All that needs no other server, with as little of everything as there can be. The crowds fail by themselves if the
// authority is asked too often.
func TestSections(t *testing.T) {
	var out bytes.Buffer
	b := &bench{out: &out, size: size{rounds: 2, requests: 200, tokens: 50, million: 500, crowds: 2, largeCrowds: 1}}
	require.NoError(t, b.start(t.Context()))
	defer func() { assert.NoError(t, b.stop()) }()
	for _, c := range []struct {
		section func(*bench) error
		rows    []string
	}{
		{func(b *bench) error { return b.inside(t.Context()) }, []string{
			`\| always the same \| .* \| 0\.000 \|\n`, "\\| always the same, `identity none` \\| .* \\| 0\\.000 \\|\n",
			`\| always the same, and bare sets the same headers \| .* \| 0\.000 \|\n`, `\| 50 in turn \| .* \| 0\.000 \|\n`, `\| always a new one \| .* \| 1\.000 \|\n`,
		}},
		{func(b *bench) error { return b.millionTokens(t.Context()) }, []string{
			`\| one of many \| .* \| 0\.000 \|\n`, `\n\| [1-9][0-9]* \| [1-9][0-9]* \| [0-9]+ \|`,
		}},
		{func(b *bench) error { return b.crowd(t.Context()) }, []string{`\| 1 each time \|`, `\| 50 each time \|`}},
		{func(b *bench) error { return b.issuing(t.Context()) }, []string{`\| a token is issued \| [0-9]`, `\| a token is introspected \| [0-9]`}},
	} {
		out.Reset()
		require.NoError(t, c.section(b))
		for _, row := range c.rows {
			assert.Regexp(t, row, out.String())
		}
	}
}
