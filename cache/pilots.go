package cache

import (
	"time"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// pilots are goroutines that make calls, one after the other: the stack of a new one would have to grow for each call
// again. They end when there is nothing to do for a while. Make them with newPilots.
type pilots struct{ jobs chan job }

// job is a call to make.
type job struct {
	by     *Cache
	flight *flight
	key    key
	token  introspect.Token
	check  bool // in the background, for which the Cache has set room aside
}

// pilotRests is how long a pilot waits for its next job.
const pilotRests = time.Second

func newPilots() pilots { return pilots{make(chan job)} }

// start has a job done at once, by a pilot that rests or by a new one.
func (p pilots) start(j job) {
	select {
	case p.jobs <- j:
	default:
		go p.work(j)
	}
}

func (p pilots) work(j job) {
	rest := time.NewTimer(pilotRests)
	defer rest.Stop()
	for {
		j.by.fly(j)
		rest.Reset(pilotRests)
		select {
		case j = <-p.jobs:
		case <-rest.C:
			return
		}
	}
}
