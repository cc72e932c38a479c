package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The load of the engine's rows. Source: DESIGN 2.
const (
	inFlight = 64
	bodySize = 1024
)

// sent is what the bare loop did in one run.
type sent struct {
	Requests int64   `json:"requests"`
	Seconds  float64 `json:"seconds"`
}

// loop is the role of the bare loop: the plainest client that keeps its
// connections, with as many workers as the engine has requests in flight. For
// each line on its standard input, a duration, it posts for that long.
func loop(args []string) error {
	url := args[0]
	client := &http.Client{Transport: local(inFlight)}
	body := []byte(strings.Repeat("x", bodySize))
	if err := say("ready"); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		d, err := time.ParseDuration(in.Text())
		if err != nil {
			return err
		}
		s, err := post(client, url, body, d)
		if err != nil {
			return err
		}
		if err := say(s); err != nil {
			return err
		}
	}
	return nil
}

func post(client *http.Client, url string, body []byte, d time.Duration) (sent, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var n atomic.Int64
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	for range inFlight {
		wg.Go(func() {
			for ctx.Err() == nil && first.Load() == nil {
				if err := postOnce(client, url, body); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return sent{}, *err
	}
	return sent{n.Load(), time.Since(start).Seconds()}, nil
}

func postOnce(client *http.Client, url string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", strconv.Itoa(resp.StatusCode))
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// half is one run of the bare loop.
type half struct {
	rate float64 // requests a second
	cpu  float64 // seconds of processor time for 1,000 requests
}

// bare runs the loop for d.
func (c *child) bare(d time.Duration) (half, error) {
	before, err := cpu(c.cmd.Process.Pid)
	if err != nil {
		return half{}, err
	}
	var s sent
	if err := c.ask(d.String(), &s); err != nil {
		return half{}, err
	}
	after, err := cpu(c.cmd.Process.Pid)
	if err != nil {
		return half{}, err
	}
	if s.Requests == 0 {
		return half{}, fmt.Errorf("the bare loop sent nothing in %s", d)
	}
	return half{float64(s.Requests) / s.Seconds, (after - before).Seconds() / float64(s.Requests) * 1000}, nil
}
