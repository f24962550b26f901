package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A trace is what a certificate leaves in memory: bytes of its public key as they stand in its DER form, or a piece of
// the base64 of the same bytes, on one line of its PEM form.
type trace struct {
	name, form string
	bytes      []byte
}

// tracesOf reads the CAs below a directory, by their usual names.
func tracesOf(directory string) ([]trace, error) {
	var found []trace
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(entry.Name(), "ca.crt") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return fmt.Errorf("%s: not PEM", path)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		key := certificate.RawSubjectPublicKeyInfo
		// the middle of the key: neither the algorithm, which all have, nor the end
		middle := key[len(key)/2-16 : len(key)/2+16]
		name, _ := filepath.Rel(directory, path)
		found = append(found, trace{name, "DER", middle}, trace{name, "PEM", lineOf(block.Bytes, bytes.Index(block.Bytes, middle))})
		return nil
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no CA below %s", directory)
	}
	return found, err
}

// lineOf gives the line of the PEM form that holds a byte of the DER form.
func lineOf(der []byte, at int) []byte {
	const perLine = 48 // bytes in 64 characters
	start := at / perLine * perLine
	return []byte(base64.StdEncoding.EncodeToString(der[start:min(start+perLine, len(der))]))
}

// memory looks for the CAs below a directory in every process of a control group, by its path's part in /proc/PID/cgroup,
// and prints a line for each that has one: node, program, process id, seconds since its start, CA, form, and how often in
// memory of its own and in mapped files.
func memory(directory, group string) error {
	traces, err := tracesOf(directory)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	looked := 0
	for _, entry := range entries {
		process := filepath.Join("/proc", entry.Name())
		groups, err := os.ReadFile(filepath.Join(process, "cgroup"))
		if _, number := strconv.Atoi(entry.Name()); number != nil || err != nil {
			continue
		}
		_, rest, in := strings.Cut(string(groups), "/"+group+"/")
		if !in {
			continue
		}
		node, _, _ := strings.Cut(strings.SplitN(rest, "\n", 2)[0], "/")
		found, err := search(process, traces)
		if err != nil {
			continue // ended meanwhile
		}
		looked++
		program, _ := os.ReadFile(filepath.Join(process, "comm"))
		for at, count := range found {
			if count != [2]int{} {
				fmt.Printf("%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\n", node, strings.TrimSpace(string(program)), entry.Name(), age(process), traces[at].name, traces[at].form, count[0], count[1])
			}
		}
	}
	if looked == 0 {
		return fmt.Errorf("no process is in a group %s", group)
	}
	fmt.Fprintf(os.Stderr, "%d processes\n", looked)
	return nil
}

// age is the time since a process began, in seconds.
func age(process string) int64 {
	stat, err := os.ReadFile(filepath.Join(process, "stat"))
	uptime, err2 := os.ReadFile("/proc/uptime")
	if err != nil || err2 != nil {
		return 0
	}
	// the name, in parentheses, may hold spaces; the start is the twentieth after it, in hundredths of a second
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	began, _ := strconv.ParseInt(fields[19], 10, 64)
	now, _ := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	return int64(now) - began/100
}

// search counts each trace in a process' own memory and in files that it maps.
func search(process string, traces []trace) ([][2]int, error) {
	maps, err := os.ReadFile(filepath.Join(process, "maps"))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(filepath.Join(process, "mem"))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	found := make([][2]int, len(traces))
	const piece, overlap = 16 << 20, 128
	buffer := make([]byte, piece)
	for _, line := range strings.Split(string(maps), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[1], "r") || len(fields) > 5 && strings.HasPrefix(fields[5], "[v") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		begin, _ := strconv.ParseUint(from, 16, 63)
		end, _ := strconv.ParseUint(to, 16, 63)
		mapped := 0
		if fields[4] != "0" {
			mapped = 1
		}
		for at := begin; at < end; at += piece - overlap {
			n, _ := mem.ReadAt(buffer[:min(piece, end-at)], int64(at))
			for index, t := range traces {
				found[index][mapped] += bytes.Count(buffer[:n], t.bytes)
			}
			if at+piece >= end {
				break
			}
		}
	}
	return found, nil
}
