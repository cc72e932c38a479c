//go:build postgres

package servertest_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/servertest"
	"github.com/consentwire/consentwire/internal/store/postgres/pgtest"
)

// database returns the settings of a server that keeps its data in a database.
func database(url string) []string {
	return []string{"CONSENTWIRE_DATABASE=" + url, "CONSENTWIRE_MASTER_KEY=" + secret.RandomStd(32)}
}

// TestKill_postgres is TestKill on PostgreSQL.
func TestKill_postgres(t *testing.T) {
	t.Parallel()
	killed(t, database(pgtest.Shared(t).Database(t))...)
}

// takeover is within how long the endpoints of a node that is lost are another's.
// Source: DESIGN 2.
const takeover = 20 * time.Second

// TestNodes: three nodes on one database, all of them called and sending. One is
// killed, one is frozen for longer than its leases last and comes back, the
// database is restarted, and one is asked to stop: nothing that was acknowledged
// is lost, and no subject's order is broken.
func TestNodes(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Own(t)
	operator := secret.Random(32).Reveal()
	o := servertest.Options{
		Binary: binary(t), CA: servertest.NewCA(t),
		Env: append(database(cluster.Database(t)), "CONSENTWIRE_LOG_LEVEL=info", "CONSENTWIRE_ADMIN_TOKEN="+operator),
	}
	rcv := servertest.NewReceiver(t, o.CA)
	rcv.Answer(func(r servertest.Received) servertest.Reply {
		if r.N%97 == 96 {
			return servertest.Reply{Status: 500}
		}
		return servertest.Reply{}
	})
	nodes := make([]*servertest.Server, 3)
	for i := range nodes {
		nodes[i] = servertest.New(t, o)
		nodes[i].Operator = operator
		nodes[i].Start()
	}
	first := nodes[0].NewApplication("Bank")
	var paths []string
	for i := range 9 {
		paths = append(paths, fmt.Sprintf("/%d", i))
		more := map[string]any{"maxInFlight": wire}
		if i == 0 {
			more["parts"] = 3 // perhaps one for each node
		}
		subscribe(t, first, rcv.URL+paths[i], more)
	}
	var loads []*load
	for _, s := range nodes {
		loads = append(loads, startLoad(s, servertest.Guest(t, s.URL, first.ClientID, first.ClientSecret)))
	}
	// flowing waits until every endpoint has heard of something that happened
	// since it was called, and returns how long that took.
	flowing := func(what string) time.Duration {
		t.Helper()
		begin, from := time.Now(), rcv.Count()
		heard := map[string]bool{}
		all := func() bool {
			for _, r := range rcv.Since(from) {
				heard[r.Path] = true
				from++
			}
			return len(heard) == len(paths)
		}
		for n := -1; !all() && len(heard) > n; { // each may take its time on a busy machine
			n = len(heard)
			servertest.Eventually(t, what, func() bool { return all() || len(heard) > n })
		}
		return time.Since(begin)
	}
	flowing("deliveries to begin")

	nodes[0].Kill()
	if took := flowing("the others to take over from the node that was killed"); took > takeover {
		t.Errorf("took %v, want at most %v", took, takeover)
	} else {
		t.Logf("taken over from a killed node after %v", took)
	}
	nodes[0].Start()
	flowing("the node that came back to take its part")

	nodes[1].Signal(syscall.SIGSTOP)
	<-time.After(time.Second) // what it had written still arrives
	if took := flowing("the others to take over from the node that is frozen"); took > takeover {
		t.Errorf("took %v, want at most %v", took, takeover)
	} else {
		t.Logf("taken over from a frozen node after %v", took)
	}
	thawed := time.Now()
	nodes[1].Signal(syscall.SIGCONT)
	flowing("the node that thawed to take its part")

	if err := cluster.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	flowing("everything to go on after the database was restarted")

	if code := nodes[2].Stop(); code != 0 {
		t.Errorf("got status %d, want 0", code)
	}
	if took := flowing("the others to take over from the node that stopped"); took > takeover/2 {
		t.Errorf("took %v, want it to have given its leases back", took)
	} else {
		t.Logf("taken over from a node that stopped after %v", took)
	}

	var made []promise
	for _, l := range loads {
		made = append(made, l.end()...)
	}
	// What each of its processors was about to write when the node froze, past the
	// last look at its lease, no program can take back (docs/nodes.md).
	left := runtime.NumCPU()
	got := heardBut(t, rcv, made, func(r servertest.Received) bool {
		if r.At.Before(thawed) || r.At.After(thawed.Add(time.Second)) || left == 0 {
			return false
		}
		left--
		return true
	}, paths...)
	twice := 0
	seen := map[string]bool{}
	for _, r := range got {
		if r.Answered {
			key := r.Path + " " + r.ID()
			if seen[key] {
				twice++
			}
			seen[key] = true
		}
	}
	// Seven times what an endpoint was sent is in doubt: one node is killed and comes
	// back, one is frozen and thaws, the database stops and starts, one node leaves.
	if most := 7 * len(paths) * (wire + group); twice > most {
		t.Errorf("%d deliveries came again, want at most %d: what was on the wire or not yet recorded", twice, most)
	}
	t.Logf("%d requests, %d of them again", len(got), twice)
}
