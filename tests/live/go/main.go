// The load of the live test: clients that ask without end and record each request, the webhook that one of them goes
// through, and the report made of the records. It knows clients and records; it must not know what a phase does.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: load COMMAND
  user NAME KUBECONFIG FILE    asks the API as a user, by a kubeconfig that may be replaced; records into FILE
  operator KUBECONFIG FILE     the same, and logs, exec, aggregated API, webhook and nodes
  pod keep|reread FILE         asks the API from within a pod
  etcd DIR FILE ADDRESS...     asks etcd with the certificates of DIR, read for each request
  webhook CERT KEY             admits everything
  memory DIR GROUP             looks for the CAs below DIR in the memory of a control group's processes
  sleep                        waits, and writes a line each second
  true                         ends
  report PLAN PHASES OUT RECORDS...
                               writes report.md and report.json into OUT`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	rest := args[1:]
	switch {
	case args[0] == "user" && len(rest) == 3:
		return user(rest[0], rest[1], rest[2])
	case args[0] == "operator" && len(rest) == 2:
		return operator(rest[0], rest[1])
	case args[0] == "pod" && len(rest) == 2:
		return pod(rest[0], rest[1])
	case args[0] == "etcd" && len(rest) >= 3:
		return etcd(rest[0], rest[1], rest[2:])
	case args[0] == "webhook" && len(rest) == 2:
		return webhook(rest[0], rest[1])
	case args[0] == "memory" && len(rest) == 2:
		return memory(rest[0], rest[1])
	case args[0] == "sleep":
		return sleep()
	case args[0] == "true":
		return nil
	case args[0] == "report" && len(rest) >= 4:
		return report(rest[0], rest[1], rest[2], rest[3:])
	}
	return fmt.Errorf("%s", usage)
}
