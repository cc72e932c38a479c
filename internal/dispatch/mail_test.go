package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/consentwire/consentwire/internal/app"
	"github.com/consentwire/consentwire/internal/delivery"
	"github.com/consentwire/consentwire/internal/event"
	"github.com/consentwire/consentwire/internal/id"
	"github.com/consentwire/consentwire/internal/mail"
	"github.com/consentwire/consentwire/internal/permission"
	"github.com/consentwire/consentwire/internal/secret"
	"github.com/consentwire/consentwire/internal/smtp"
	"github.com/consentwire/consentwire/internal/store"
	"github.com/consentwire/consentwire/internal/subscription"
)

// post is a mail server in virtual time.
type post struct {
	t      *testing.T
	t0     time.Time
	answer func(to string, n int) smtp.Outcome // n counts the mails to that address, from 1

	mu     sync.Mutex
	mails  []posted
	asked  map[string]int
	flying map[string]int
	now    int
	most   int
}

type posted struct {
	at   time.Duration
	to   string
	id   string
	mail smtp.Mail
}

func (p *post) Send(ctx context.Context, m *smtp.Mail) (smtp.Outcome, error) {
	to := m.Message.To
	p.mu.Lock()
	p.asked[to]++
	if p.flying[to]++; p.flying[to] > 1 {
		p.t.Errorf("two mails to %s are on the wire", to)
	}
	p.now++
	p.most = max(p.most, p.now)
	p.mails = append(p.mails, posted{time.Since(p.t0), to, m.Message.ID, *m})
	o := p.answer(to, p.asked[to])
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.flying[to]--
		p.now--
		p.mu.Unlock()
	}()
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return smtp.Outcome{}, ctx.Err()
	}
	return o, nil
}

func taken() smtp.Outcome {
	return smtp.Outcome{Verdict: delivery.Success, AboutMail: true, Step: delivery.StepResponse, Status: 250, Reply: "2.0.0 OK"}
}

func refused(code int) smtp.Outcome {
	o := smtp.Outcome{Step: delivery.StepResponse, Status: code, Reply: "no", Reason: fmt.Sprintf("the mail server said %d", code)}
	o.Verdict, o.AboutMail = delivery.JudgeMail(code)
	return o
}

func down() smtp.Outcome {
	return smtp.Outcome{Verdict: delivery.Retry, Step: delivery.StepConnect, Reason: "the receiver refused the connection"}
}

// mailBench is a bench with a mail sender.
func mailBench(t *testing.T, answer func(to string, n int) smtp.Outcome, edit func(*subscription.Endpoint)) (*bench, *post, subscription.Endpoint) {
	t.Helper()
	b := newBench(t, ok)
	p := &post{t: t, t0: b.t0, answer: answer, asked: map[string]int{}, flying: map[string]int{}}
	b.mailer = p
	e, made, err := b.app.PutSender(t.Context(), b.id, func(subscription.Endpoint) (subscription.Endpoint, error) {
		e, fields := subscription.SenderDraft{
			Host: "smtp.example.org", User: "mailer", Password: subscription.SecretInput{Given: true, Value: secret.New("p4ss-of-the-server")},
			From: "privacy@example.org", FromName: "Privacidade",
		}.Apply(subscription.Endpoint{}, func(string, int, bool) error { return nil })
		if len(fields) > 0 {
			t.Fatal(fields)
		}
		if edit != nil {
			edit(&e)
		}
		return e, nil
	})
	if err != nil || !made {
		t.Fatalf("got %v %v, want a new sender", made, err)
	}
	return b, p, e
}

// write logs one mail to each citizen named, in that order; an address is made
// of the name.
func (b *bench) write(citizens ...string) (events []string) {
	b.t.Helper()
	at := time.Now().UTC().Truncate(time.Millisecond)
	var evts []event.Event
	for _, c := range citizens {
		to := c + "@example.net"
		if strings.HasPrefix(c, "nobody") {
			to = ""
		}
		e := mail.Event(permission.Citizen{Application: string(b.id), ID: permission.CitizenID(c)}, mail.Message{
			ID: id.New(id.Mail), Template: mail.Receipt, To: to, Language: "en", Subject: "Your receipt", Text: "Here", HTML: "<p>Here</p>",
		}, at)
		e.ID, e.RecordedAt = id.New(id.Event), at
		evts, events = append(evts, e), append(events, e.ID)
	}
	if err := b.store.Update(b.t.Context(), func(tx store.Tx) error { return tx.Publish(evts...) }); err != nil {
		b.t.Fatal(err)
	}
	return events
}

func (p *post) got() []posted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]posted(nil), p.mails...)
}

func (b *bench) detail(event string) delivery.Detail {
	b.t.Helper()
	vs, _, err := b.store.Deliveries(b.t.Context(), b.id, store.DeliveryQuery{EventID: event, Limit: 2})
	if err != nil || len(vs) != 1 {
		b.t.Fatalf("got %v (%v), want one delivery", vs, err)
	}
	d, err := b.store.Delivery(b.t.Context(), b.id, vs[0].ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func TestMail_whatBecomesOfIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answers []smtp.Outcome // in turn; the last one repeats
		want    int            // attempts
		ends    delivery.Status
	}{
		{"taken at once", []smtp.Outcome{taken()}, 1, delivery.Delivered},
		{"not now, and then taken", []smtp.Outcome{refused(451), down(), taken()}, 3, delivery.Delivered},
		{"refused for good", []smtp.Outcome{refused(550), taken()}, 1, delivery.Exhausted},
		{"not now, and then refused for good", []smtp.Outcome{refused(450), refused(554), taken()}, 2, delivery.Exhausted},
		{"never a connection", []smtp.Outcome{down()}, 3, delivery.Exhausted},
		{"never a sign-in", []smtp.Outcome{refused(535)}, 3, delivery.Exhausted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				b, p, e := mailBench(t, func(_ string, n int) smtp.Outcome { return tt.answers[min(n, len(tt.answers))-1] }, nil)
				b.start()
				events := b.write("ana")
				sleep(2 * time.Hour)
				ms := p.got()
				if len(ms) != tt.want {
					t.Fatalf("got %d attempts, want %d", len(ms), tt.want)
				}
				for _, m := range ms {
					if m.id != ms[0].id || m.mail.Timeout != 15*time.Second || m.mail.Sender.Password.Reveal() != "p4ss-of-the-server" {
						t.Errorf("got %+v, want the same mail each time", m)
					}
				}
				d := b.detail(events[0])
				last := tt.answers[min(tt.want, len(tt.answers))-1]
				if d.Status != tt.ends || !d.MailSender || d.Interceptor || d.Endpoint != delivery.Endpoint(e.ID) || len(d.Attempts) != tt.want {
					t.Errorf("got %+v, want %s after %d attempts", d.View, tt.ends, tt.want)
				}
				if d.Reason != last.Reason {
					t.Errorf("got the reason %q, want %q", d.Reason, last.Reason)
				}
				a := d.Attempts[tt.want-1]
				if a.Status != last.Status || a.Step != last.Step || a.Signature != "" || a.Delivered != (tt.ends == delivery.Delivered) {
					t.Errorf("got %+v, want what the server said", a.Attempt)
				}
				if last.Status == 0 && a.Response != nil || last.Status != 0 && (a.Response == nil || a.Response.Status != last.Status || a.Response.Body != last.Reply) {
					t.Errorf("got the response %+v, want the reply %d %q", a.Response, last.Status, last.Reply)
				}
				b.close()
			})
		})
	}
}

// TestMail_inOrder: mails to one citizen go in order, one that waits holds back
// nobody else, one that is refused for good not even the next, and a restart
// loses none.
func TestMail_inOrder(t *testing.T) {
	in(t, func(t *testing.T) {
		b, p, e := mailBench(t, func(to string, n int) smtp.Outcome {
			switch {
			case strings.HasPrefix(to, "slow") && n < 3:
				return refused(451)
			case strings.HasPrefix(to, "bad") && n == 1:
				return refused(550)
			case to == "":
				return smtp.Outcome{Verdict: delivery.Refused, AboutMail: true, Step: delivery.StepRequest, Reason: "no address is kept"}
			}
			return taken()
		}, nil)
		b.start()
		first := b.write("slow", "bad", "good", "nobody", "slow", "bad", "good", "slow")
		sleep(30 * time.Second)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 3, delivery.Exhausted: 2, delivery.Retrying: 1, delivery.Pending: 2})
		if d := b.detail(first[3]); d.Status != delivery.Exhausted || d.Reason != "no address is kept" || len(d.Attempts) != 1 || d.Attempts[0].Response != nil {
			t.Errorf("got %+v, want it exhausted for want of an address", d.View)
		}
		b.close()
		b.openStore()
		b.start()
		sleep(time.Hour)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 6, delivery.Exhausted: 2})
		var slow []string
		for _, m := range p.got() {
			if strings.HasPrefix(m.to, "slow") && (len(slow) == 0 || slow[len(slow)-1] != m.id) {
				slow = append(slow, m.id)
			}
		}
		if len(slow) != 3 {
			t.Errorf("got the mails to slow as %v, want three, one behind the other", slow)
		}
		if p.most > subscription.DefaultMailsInFlight {
			t.Errorf("got %d at a time, want at most %d", p.most, subscription.DefaultMailsInFlight)
		}
		// One that ended is sent again when its owner asks.
		if _, err := b.app.Redeliver(t.Context(), b.id, b.detail(first[1]).ID); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		if d := b.detail(first[1]); d.Status != delivery.Delivered || len(d.Attempts) != 2 || d.Attempts[1].N != 2 {
			t.Errorf("got %+v, want it delivered by its second attempt", d.View)
		}
		b.close()
	})
}

// TestMail_atMostSoManyAtATime: the default is few, for mail servers count
// connections.
func TestMail_atMostSoManyAtATime(t *testing.T) {
	in(t, func(t *testing.T) {
		b, p, _ := mailBench(t, func(string, int) smtp.Outcome { return taken() }, nil)
		b.start()
		var all []string
		for i := range 40 {
			all = append(all, fmt.Sprintf("c%d", i))
		}
		b.write(all...)
		sleep(time.Minute)
		if n := len(p.got()); n != 40 || p.most != 4 {
			t.Errorf("got %d mails, at most %d at a time, want 40 and 4", n, p.most)
		}
		b.close()
	})
}

// TestMail_breaker: faults of the connection and the sign-in open it, refusals
// of recipients do not, and whatever is said of one mail closes it.
func TestMail_breaker(t *testing.T) {
	t.Parallel()
	citizens := func(from, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("c%d", from+i))
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		with  smtp.Outcome
		opens bool
	}{
		{"no connection", down(), true},
		{"a sign-in that is refused", refused(535), true},
		{"a server that closes", refused(421), true},
		{"recipients that are refused for good", refused(550), false},
		{"recipients that are not taken now", refused(451), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				b, p, e := mailBench(t, func(string, int) smtp.Outcome { return tt.with }, func(e *subscription.Endpoint) {
					e.RetrySchedule = []time.Duration{time.Minute, time.Minute}
				})
				b.start()
				b.write(citizens(0, 200)...)
				sleep(20 * time.Second)
				h, err := b.store.Health(t.Context(), b.id, e.ID)
				if err != nil || h.Breaker.Open != tt.opens {
					t.Errorf("got %+v (%v), want it open %v", h.Breaker, err, tt.opens)
				}
				if n := len(p.got()); tt.opens && n > 40 || !tt.opens && n != 200 {
					t.Errorf("got %d attempts", n)
				}
				if tt.opens { // the server's word on one mail closes it
					p.mu.Lock()
					p.answer = func(string, int) smtp.Outcome { return refused(550) }
					p.mu.Unlock()
					sleep(5 * time.Minute)
					b.wantStatuses(e, map[delivery.Status]int{delivery.Exhausted: 200})
					if h, err := b.store.Health(t.Context(), b.id, e.ID); err != nil || h.Breaker.Open {
						t.Errorf("got %+v (%v), want it closed", h.Breaker, err)
					}
				}
				b.close()
			})
		})
	}
}

func TestMail_pausedAndReplayed(t *testing.T) {
	in(t, func(t *testing.T) {
		b, p, e := mailBench(t, func(string, int) smtp.Outcome { return taken() }, nil)
		b.start()
		b.setStatus(e, subscription.Paused)
		events := b.write("a", "b")
		sleep(time.Minute)
		b.setStatus(e, subscription.Active)
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Discarded: 2})
		job, err := b.app.Replay(t.Context(), b.id, subscription.MailSender, "", app.ReplayRequest{ReplayQuery: store.ReplayQuery{EventIDs: events}})
		if err != nil || job.Count != 2 {
			t.Fatalf("got %+v (%v), want both", job, err)
		}
		sleep(time.Minute)
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 2})
		if n := len(p.got()); n != 2 {
			t.Errorf("got %d mails, want 2", n)
		}
		b.close()
	})
}

// TestMail_silent: what a server repeats of a password is masked, and no line
// of the log names a person.
func TestMail_silent(t *testing.T) {
	in(t, func(t *testing.T) {
		const pw, both = "p4ss-of-the-server", "AG1haWxlcgBwNHNzLW9mLXRoZS1zZXJ2ZXI="
		b, _, e := mailBench(t, func(string, int) smtp.Outcome {
			o := refused(535)
			o.Reply = "no: " + pw + " nor AUTH PLAIN " + both
			return o
		}, func(e *subscription.Endpoint) { e.RetrySchedule = []time.Duration{time.Minute} })
		b.start()
		events := b.write("ana.maria")
		sleep(10 * time.Minute)
		d := b.detail(events[0])
		for _, a := range d.Attempts {
			if a.Response == nil || strings.Contains(a.Response.Body, pw) || strings.Contains(a.Response.Body, both[:12]) || !strings.Contains(a.Response.Body, "***") {
				t.Errorf("got the reply %+v, want it masked", a.Response)
			}
		}
		trial, err := b.engineOf().TestMail(t.Context(), e, "me@example.org")
		if err != nil || trial.Delivered || trial.Response == nil || strings.Contains(fmt.Sprintf("%+v", trial.Response), pw) {
			t.Errorf("got %+v (%v), want a failed trial, masked", trial, err)
		}
		if r := trial.Request; r.Method != "SMTP" || r.URL != "smtp://smtp.example.org:587" || !strings.Contains(r.Body, "me@example.org") {
			t.Errorf("got the request %+v", r)
		}
		b.close()
		for _, bad := range []string{pw, both[:12], "ana.maria", "me@example.org", "Your receipt", "Test message"} {
			if strings.Contains(b.log.String(), bad) {
				t.Errorf("the log holds %q", bad)
			}
		}
		if !strings.Contains(b.log.String(), "the mail server said 535") {
			t.Errorf("the log %s lacks the reason", b.log.String())
		}
	})
}

func TestMail_cutOff(t *testing.T) {
	in(t, func(t *testing.T) {
		started := make(chan struct{})
		var once sync.Once
		b, _, e := mailBench(t, func(string, int) smtp.Outcome { once.Do(func() { close(started) }); return taken() }, nil)
		b.start()
		b.write("a")
		<-started
		b.close() // what is on the wire is waited for
		b.openStore()
		b.wantStatuses(e, map[delivery.Status]int{delivery.Delivered: 1})
		b.close()
	})
}
