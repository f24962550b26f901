package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Record is one request: what kind of client asked, when, for how long, and how it ended.
type Record struct {
	At    int64  `json:"at"` // milliseconds since 1970, when it began
	Kind  string `json:"kind"`
	Took  int64  `json:"took"` // milliseconds
	Tries int    `json:"tries"`
	// The first attempt's error, when a later one went well.
	Retried string `json:"retried,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Journal is a file of records, one a line, appended to by several clients.
type Journal struct {
	mutex sync.Mutex
	file  *os.File
}

func openJournal(name string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return &Journal{file: file}, err
}

func (j *Journal) write(r Record) {
	line, _ := json.Marshal(r)
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		fmt.Fprintln(os.Stderr, "load: cannot record:", err)
		os.Exit(1) // a record that is missing would look like success
	}
}

// Refusal is an answer of another status than 2xx.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d %s", r.Status, r.Text) }

const attempts = 6

// A client that finds a connection broken, or a server that is not ready, asks the next one. Whoever is not trusted, or
// does not trust, is not helped by asking again: that is a failure at once.
func passing(err error) bool {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		// 404: a kubelet that has just started does not know its pods
		return refusal.Status == http.StatusTooManyRequests || refusal.Status == http.StatusNotFound || refusal.Status >= 500 && !strings.Contains(refusal.Text, "x509") && !strings.Contains(refusal.Text, "tls:")
	}
	return !strings.Contains(err.Error(), "x509") && !strings.Contains(err.Error(), "tls:") && !strings.Contains(err.Error(), "certificate")
}

// each asks in a loop, at most once a period, and records.
func (j *Journal) each(kind string, period time.Duration, ask func() error) {
	for {
		began := time.Now()
		r := Record{At: began.UnixMilli(), Kind: kind}
		var err error
		for r.Tries = 1; ; r.Tries++ {
			if err = ask(); err == nil || !passing(err) || r.Tries == attempts {
				break
			}
			if r.Retried == "" {
				r.Retried = err.Error()
			}
			time.Sleep(time.Duration(r.Tries) * 200 * time.Millisecond)
		}
		if err != nil {
			r.Error = err.Error()
		}
		r.Took = time.Since(began).Milliseconds()
		j.write(r)
		time.Sleep(time.Until(began.Add(period)))
	}
}
