// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"
)

// times are how long calls of one kind took.
type times []time.Duration

func (t times) quantile(percent int) time.Duration {
	sorted := append(times{}, t...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	return sorted[(len(sorted)-1)*percent/100]
}

func (t times) String() string {
	return fmt.Sprintf("p50 %7v  p99 %7v", t.quantile(50).Round(time.Microsecond),
		t.quantile(99).Round(time.Microsecond))
}

// syncTimes are what the disk takes to keep one small write.
func syncTimes(directory string) (times, error) {
	file, err := os.Create(filepath.Join(directory, "sync"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var result times
	for i := 0; i < 200; i++ {
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := file.Sync(); err != nil {
			return nil, err
		}
		result = append(result, time.Since(begin))
	}
	return result, nil
}

// callTimes makes snapshots, ten on each other, as a pull does.
func callTimes(service *service, count int) (map[string]times, error) {
	ctx := context.Background()
	result := map[string]times{}
	measure := func(kind string, body func() error) error {
		begin := time.Now()
		err := body()
		result[kind] = append(result[kind], time.Since(begin))
		return err
	}
	parent := ""
	for i := 0; i < count; i++ {
		key, name := fmt.Sprintf("key-%d", i), fmt.Sprintf("name-%d", i)
		if i%10 == 0 {
			parent = ""
		}
		steps := []struct {
			kind string
			body func() error
		}{
			{"Prepare", func() error { return second(service.Prepare(ctx, key, parent)) }},
			{"Mounts", func() error { return second(service.Mounts(ctx, key)) }},
			{"Commit", func() error { return service.Commit(ctx, name, key) }},
		}
		for _, step := range steps {
			if err := measure(step.kind, step.body); err != nil {
				return nil, err
			}
		}
		parent = name
	}
	return result, nil
}

// TestTimes measures both snapshotters in one run, through the same client.
func TestTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	syncs, err := syncTimes(t.TempDir())
	must(t, err)
	t.Logf("%-10s %-8s %v", "disk", "fsync", syncs)
	medians := map[string]map[string]time.Duration{}
	for name, begin := range map[string]func(string) (*service, error){
		"overlayfs": startOverlayfs, "lazypull": start,
	} {
		service, err := begin(t.TempDir())
		must(t, err)
		found, err := callTimes(service, 1000)
		must(t, err)
		must(t, service.end())
		medians[name] = map[string]time.Duration{}
		for _, kind := range []string{"Prepare", "Mounts", "Commit"} {
			t.Logf("%-10s %-8s %v", name, kind, found[kind])
			medians[name][kind] = found[kind].quantile(50)
		}
	}
	for kind, median := range medians["lazypull"] {
		// Other work on the machine makes one of two slow: only what is far off is a fault.
		if limit := 3*medians["overlayfs"][kind] + 2*time.Millisecond; median > limit {
			t.Errorf("%s takes %v, overlayfs %v", kind, median, medians["overlayfs"][kind])
		}
	}
}
