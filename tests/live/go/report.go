package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Phase is one line of the rotation's record: what was done where, and when it began and ended.
type Phase struct {
	Name  string `json:"name"`
	Where string `json:"where"`
	Verb  string `json:"verb"`
	Began int64  `json:"began"` // milliseconds since 1970
	Ended int64  `json:"ended"`
	Code  int    `json:"code"`
}

// Row is what one kind of request met in one phase.
type Row struct {
	Phase    string   `json:"phase"`
	Kind     string   `json:"kind"`
	Requests int      `json:"requests"`
	Retried  int      `json:"retried"`
	Failed   int      `json:"failed"`
	Slowest  int64    `json:"slowest_ms"`
	Errors   []string `json:"errors,omitempty"`
}

func lines[T any](name string, each func(T)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var value T
		// a process that was killed may have left half a line
		if json.Unmarshal(scanner.Bytes(), &value) == nil {
			each(value)
		}
	}
	return scanner.Err()
}

// Outages are what a plan names beforehand: phases by the outage's name.
type Outages map[string]map[int]bool

func outagesOf(plan string) (Outages, error) {
	var read struct {
		Proof struct {
			Outages []struct {
				Phase int    `json:"phase"`
				Name  string `json:"name"`
			} `json:"outages"`
		} `json:"proof"`
	}
	text, err := os.ReadFile(plan)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, err
	}
	out := Outages{}
	for _, outage := range read.Proof.Outages {
		if out[outage.Name] == nil {
			out[outage.Name] = map[int]bool{}
		}
		out[outage.Name][outage.Phase] = true
	}
	return out, nil
}

func report(plan, phasesFile, out string, records []string) error {
	outages, err := outagesOf(plan)
	if err != nil {
		return err
	}
	var steps []Phase
	if err := lines(phasesFile, func(p Phase) { steps = append(steps, p) }); err != nil {
		return err
	}
	rows := map[[2]string]*Row{}
	for _, name := range records {
		if err := lines(name, func(r Record) { count(rows, steps, r) }); err != nil {
			return err
		}
	}
	sorted := make([]*Row, 0, len(rows))
	for _, row := range rows {
		sorted = append(sorted, row)
	}
	sort.Slice(sorted, func(a, b int) bool {
		return sorted[a].Phase+"\x00"+sorted[a].Kind < sorted[b].Phase+"\x00"+sorted[b].Kind
	})
	text, err := json.MarshalIndent(map[string]any{"steps": steps, "requests": sorted}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "report.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "report.md"), []byte(markdown(outages, steps, sorted)), 0o644)
}

// The phase of a request is the last that had begun when the request ended: what a step breaks, it breaks from then on.
// What was asked before the first step says nothing of a rotation.
func count(rows map[[2]string]*Row, steps []Phase, r Record) {
	phase := ""
	for _, step := range steps {
		if step.Began <= r.At+r.Took {
			phase = step.Name
		}
	}
	if phase == "" {
		return
	}
	row := rows[[2]string{phase, r.Kind}]
	if row == nil {
		row = &Row{Phase: phase, Kind: r.Kind}
		rows[[2]string{phase, r.Kind}] = row
	}
	row.Requests++
	row.Slowest = max(row.Slowest, r.Took)
	if r.Error != "" {
		row.Failed++
		if len(row.Errors) < 5 {
			row.Errors = append(row.Errors, r.Error)
		}
	} else if r.Retried != "" {
		row.Retried++
	}
}

// names: whether the plan has named an outage of logs and exec in the phase, on a control plane or on any node.
func (o Outages) names(r *Row) bool {
	what, node, _ := strings.Cut(r.Kind, " on ")
	phase, err := strconv.Atoi(r.Phase[:2])
	if err != nil || what != "logs" && what != "exec" {
		return false
	}
	return o["outage:kubelet"][phase] || strings.HasPrefix(node, "cp-") && o["outage:local-kubelet"][phase]
}

func markdown(outages Outages, steps []Phase, rows []*Row) string {
	var b strings.Builder
	b.WriteString("# Rotation of a live cluster\n\n## Requests by kind\n\n| kind | requests | failed | went well on another try | slowest, ms |\n| --- | --- | --- | --- | --- |\n")
	kinds := map[string]*Row{}
	var names []string
	for _, row := range rows {
		sum := kinds[row.Kind]
		if sum == nil {
			sum = &Row{Kind: row.Kind}
			kinds[row.Kind] = sum
			names = append(names, row.Kind)
		}
		sum.Requests += row.Requests
		sum.Failed += row.Failed
		sum.Retried += row.Retried
		sum.Slowest = max(sum.Slowest, row.Slowest)
	}
	sort.Strings(names)
	total := Row{}
	for _, name := range names {
		k := kinds[name]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", name, k.Requests, k.Failed, k.Retried, k.Slowest)
		total.Requests += k.Requests
		total.Failed += k.Failed
		total.Retried += k.Retried
	}
	fmt.Fprintf(&b, "| **all** | %d | %d | %d | |\n\n", total.Requests, total.Failed, total.Retried)
	named := 0
	for _, row := range rows {
		if outages.names(row) {
			named += row.Failed
		}
	}
	fmt.Fprintf(&b, "Of the failed, %d are logs and exec in phases where the plan names that a kubelet, or the API server that it asks, restarts.\n\n## Failures by phase\n\n", named)
	if total.Failed == 0 {
		b.WriteString("None.\n")
	}
	for _, row := range rows {
		if row.Failed > 0 {
			fmt.Fprintf(&b, "- %s, %s: %d of %d\n", row.Phase, row.Kind, row.Failed, row.Requests)
			for _, e := range row.Errors {
				fmt.Fprintf(&b, "  - `%s`\n", strings.ReplaceAll(strings.ReplaceAll(e, "\n", " "), "`", "'"))
			}
		}
	}
	b.WriteString("\n## Steps\n\n| phase | where | script | seconds | exit |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range steps {
		fmt.Fprintf(&b, "| %s | %s | %s | %.1f | %d |\n", s.Name, s.Where, s.Verb, float64(s.Ended-s.Began)/1000, s.Code)
	}
	return b.String()
}
