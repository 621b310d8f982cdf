// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/snapshots"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// run gives the body a service on an empty root.
func run(t *testing.T, body func(ctx context.Context, t *testing.T, service *service)) {
	root := t.TempDir()
	service, err := start(root)
	if err != nil {
		t.Fatal(err)
	}
	body(context.Background(), t, service)
	if err := service.end(); err != nil {
		t.Errorf("the service ended with: %v", err)
	}
}

func labels(words ...string) snapshots.Opt {
	values := map[string]string{}
	for i := 0; i < len(words); i += 2 {
		values[words[i]] = words[i+1]
	}
	return snapshots.WithLabels(values)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, what string, actual, expected interface{}) {
	t.Helper()
	if fmt.Sprint(actual) != fmt.Sprint(expected) {
		t.Errorf("%s: %v instead of %v", what, actual, expected)
	}
}

func names(ctx context.Context, t *testing.T, service *service, filters ...string) []string {
	t.Helper()
	found := []string{}
	must(t, service.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		found = append(found, info.Name)
		return nil
	}, filters...))
	sort.Strings(found)
	return found
}

// TestFilters asks in the words that the suite leaves out.
func TestFilters(t *testing.T) {
	run(t, func(ctx context.Context, t *testing.T, service *service) {
		_, err := service.Prepare(ctx, "base-key", "")
		must(t, err)
		must(t, service.Commit(ctx, "base", "base-key",
			labels("containerd.io/snapshot.ref", "sha256:1", "plain", "a b")))
		_, err = service.Prepare(ctx, "child", "base", labels("plain", "x\"y"))
		must(t, err)
		for filter, expected := range map[string][]string{
			`labels."containerd.io/snapshot.ref"==sha256:1`:             {"base"},
			`labels."containerd.io/snapshot.ref"==sha256:1,parent==""`:  {"base"},
			`labels."containerd.io/snapshot.ref"==sha256:1,parent=="x"`: {},
			`labels.plain`:           {"base", "child"},
			`labels.plain=="a b"`:    {"base"},
			`labels.plain=="x\"y"`:   {"child"},
			`labels.plain!="a b"`:    {"child"},
			`labels.missing!=x`:      {"base", "child"},
			`name~=^ba`:              {"base"},
			`name~="^(base|child)$"`: {"base", "child"},
			`parent==base`:           {"child"},
			`kind==committed`:        {"base"},
			`kind!=committed`:        {"child"},
			`unknown`:                {},
		} {
			expect(t, filter, names(ctx, t, service, filter), expected)
		}
		expect(t, "two filters", names(ctx, t, service, "name==base", "name==child"),
			[]string{"base", "child"})
		for _, filter := range []string{`name==`, `"`, `==x`, `name=x`} {
			err := service.Walk(ctx, func(context.Context, snapshots.Info) error { return nil }, filter)
			if err == nil {
				t.Errorf("%s: no error", filter)
			}
		}
	})
}

// TestRefusals compares each refusal's kind with what containerd's overlayfs says.
func TestRefusals(t *testing.T) {
	run(t, func(ctx context.Context, t *testing.T, service *service) {
		_, err := service.Prepare(ctx, "base-key", "")
		must(t, err)
		must(t, service.Commit(ctx, "base", "base-key"))
		_, err = service.Prepare(ctx, "active", "base")
		must(t, err)
		_, err = service.View(ctx, "view", "base")
		must(t, err)
		prepare := func(key, parent string) error {
			_, err := service.Prepare(ctx, key, parent)
			return err
		}
		for what, check := range map[string]struct {
			err error
			is  func(error) bool
		}{
			"prepare twice":         {prepare("active", "base"), errdefs.IsAlreadyExists},
			"prepare a name":        {prepare("base", ""), errdefs.IsAlreadyExists},
			"prepare on nothing":    {prepare("x", "missing"), errdefs.IsNotFound},
			"prepare on an active":  {prepare("x", "active"), errdefs.IsInvalidArgument},
			"commit nothing":        {service.Commit(ctx, "n", "missing"), errdefs.IsNotFound},
			"commit to a name":      {service.Commit(ctx, "base", "active"), errdefs.IsAlreadyExists},
			"commit a view":         {service.Commit(ctx, "n", "view"), errdefs.IsFailedPrecondition},
			"commit a committed":    {service.Commit(ctx, "n", "base"), errdefs.IsFailedPrecondition},
			"remove a parent":       {service.Remove(ctx, "base"), errdefs.IsFailedPrecondition},
			"remove nothing":        {service.Remove(ctx, "missing"), errdefs.IsNotFound},
			"mounts of a committed": {second(service.Mounts(ctx, "base")), errdefs.IsFailedPrecondition},
			"mounts of nothing":     {second(service.Mounts(ctx, "missing")), errdefs.IsNotFound},
			"usage of nothing":      {second(service.Usage(ctx, "missing")), errdefs.IsNotFound},
			"stat of nothing":       {second(service.Stat(ctx, "missing")), errdefs.IsNotFound},
		} {
			if !check.is(check.err) {
				t.Errorf("%s: %v", what, check.err)
			}
		}
		cleaner := service.Snapshotter.(snapshots.Cleaner)
		must(t, cleaner.Cleanup(ctx))
		expect(t, "names", names(ctx, t, service), []string{"active", "base", "view"})
	})
}

func second(_ interface{}, err error) error { return err }

// TestFieldMasks changes labels one by one.
func TestFieldMasks(t *testing.T) {
	run(t, func(ctx context.Context, t *testing.T, service *service) {
		_, err := service.Prepare(ctx, "key", "", labels("a", "1", "b.c/d", "2", "e", "3"))
		must(t, err)
		info := snapshots.Info{Name: "key", Labels: map[string]string{"a": "4", "b.c/d": "", "f": "5"}}
		changed, err := service.Update(ctx, info, "labels.a", "labels.b.c/d", "labels.f")
		must(t, err)
		expect(t, "labels", changed.Labels, map[string]string{"a": "4", "e": "3", "f": "5"})
		for _, field := range []string{"name", "parent", "kind", "created_at", "nonsense"} {
			if _, err := service.Update(ctx, info, field); !errdefs.IsInvalidArgument(err) {
				t.Errorf("update of %s: %v", field, err)
			}
		}
		found, err := service.Stat(ctx, "key")
		must(t, err)
		expect(t, "labels", found.Labels, changed.Labels)
	})
}

// TestLongList streams more snapshots than fit into one message.
func TestLongList(t *testing.T) {
	const count = 10_000
	run(t, func(ctx context.Context, t *testing.T, service *service) {
		_, err := service.Prepare(ctx, "base-key", "")
		must(t, err)
		must(t, service.Commit(ctx, "base", "base-key"))
		var group sync.WaitGroup
		long := strings.Repeat("x", 1000)
		for worker := 0; worker < 16; worker++ {
			group.Add(1)
			go func(worker int) {
				defer group.Done()
				for i := worker; i < count; i += 16 {
					key := fmt.Sprintf("view-%d", i)
					if _, err := service.View(ctx, key, "base", labels("long", long)); err != nil {
						t.Errorf("%s: %v", key, err)
						return
					}
				}
			}(worker)
		}
		group.Wait()
		begin := time.Now()
		stream, err := service.client.List(ctx, &snapshotsapi.ListSnapshotsRequest{})
		must(t, err)
		found, messages := map[string]bool{}, 0
		for {
			response, err := stream.Recv()
			if err == io.EOF {
				break
			}
			must(t, err)
			messages++
			for _, info := range response.Info {
				found[info.Name] = true
			}
		}
		expect(t, "snapshots", len(found), count+1)
		if messages < 10 {
			t.Errorf("only %d messages", messages)
		}
		t.Logf("%d snapshots in %d messages after %v", len(found), messages, time.Since(begin))
	})
}

// TestConcurrentPrepares has one key prepared by many at once.
func TestConcurrentPrepares(t *testing.T) {
	run(t, func(ctx context.Context, t *testing.T, service *service) {
		var group sync.WaitGroup
		results := make(chan error, 100)
		for i := 0; i < cap(results); i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				_, err := service.Prepare(ctx, "key", "")
				results <- err
			}()
		}
		group.Wait()
		close(results)
		made := 0
		for err := range results {
			if err == nil {
				made++
			} else if !errdefs.IsAlreadyExists(err) {
				t.Error(err)
			}
		}
		expect(t, "made", made, 1)
	})
}

// TestCancelledCalls leaves no call half done, and the service as it was.
func TestCancelledCalls(t *testing.T) {
	run(t, func(ctx context.Context, t *testing.T, service *service) {
		for i := 0; i < 200; i++ {
			short, cancel := context.WithTimeout(ctx, time.Duration(i)*20*time.Microsecond)
			key := fmt.Sprintf("key-%d", i)
			_, err := service.Prepare(short, key, "")
			cancel()
			if err != nil {
				// errdefs knows neither of the two codes.
				code := status.Code(err)
				isLate := code == codes.DeadlineExceeded || code == codes.Canceled
				if !isLate && !strings.Contains(err.Error(), "deadline") {
					t.Errorf("%s: %v", key, err)
				}
			}
			// Made or not, the key can be had.
			if _, err := service.Mounts(ctx, key); errdefs.IsNotFound(err) {
				_, err = service.Prepare(ctx, key, "")
				if err != nil && !errdefs.IsAlreadyExists(err) {
					t.Errorf("%s again: %v", key, err)
				}
			} else if err != nil {
				t.Errorf("%s: %v", key, err)
			}
			if err := service.Remove(ctx, key); err != nil {
				t.Errorf("remove %s: %v", key, err)
			}
		}
		// A call may end after its caller has gone, even after the key was removed.
		for _, key := range names(ctx, t, service) {
			must(t, service.Remove(ctx, key))
		}
		expect(t, "names", names(ctx, t, service), []string{})
	})
}

func TestMain(m *testing.M) {
	os.Exit(m.Run())
}
