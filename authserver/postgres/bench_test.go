package postgres

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/authserver/store"
	"github.com/portcullis-gateway/portcullis/authserver/storetest"
	"github.com/portcullis-gateway/portcullis/internal/testpostgres"
)

func BenchmarkIssue(b *testing.B) {
	server := testpostgres.Start(b)
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openAt(b, empty(b, server))
			require.NoError(b, s.Issue(b.Context(), token("first")))
			var issued atomic.Int64
			issue := func() error { return s.Issue(b.Context(), token(fmt.Sprint(issued.Add(1)))) }
			if writers == 1 {
				for b.Loop() {
					if err := issue(); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.SetParallelism(writers / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := issue(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkToken(b *testing.B) {
	s := openAt(b, empty(b, testpostgres.Start(b)))
	known := make([]string, 1000)
	for i := range known {
		known[i] = fmt.Sprint(i)
		require.NoError(b, s.Issue(b.Context(), token(known[i])))
	}
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			digest := token(known[int(next.Add(1))%len(known)]).Digest
			if _, err := s.Token(b.Context(), digest); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkServer(b *testing.B) {
	server := testpostgres.Start(b)
	storetest.Serve(b, func(b *testing.B) store.Store { return openAt(b, empty(b, server)) })
}
