// Version ordinals: every release x.y.z of RocketMQ takes two, the snapshot
// (even offset) and the release. They tell which client stands opposite.
package protocol

import "fmt"

const (
	V3_0_7Snapshot int32 = 28
	V3_0_11        int32 = 37
	V3_1_8Snapshot int32 = 62
	V3_4_9         int32 = 121
	V4_0_0         int32 = 213
	V4_1_0Snapshot int32 = 232
	V4_9_4         int32 = 401
	V4_9_8         int32 = 409
	V5_0_0         int32 = 413
	V5_3_3         int32 = 479

	// CurrentVersion is what we report: clients of both lines then behave as against 4.9.8.
	CurrentVersion = V4_9_8
)

// VersionName describes an ordinal the way RocketMQ's tools print it.
func VersionName(v int32) string {
	if v < versionLines[0].first {
		return "V3_0_0"
	}
	if v >= 612 {
		return "HIGHER_VERSION"
	}
	for i, line := range versionLines {
		if i+1 < len(versionLines) && v >= versionLines[i+1].first {
			continue
		}
		n := v - line.first
		name := fmt.Sprintf("V%d_%d_%d", line.major, line.minor, line.patch+n/2)
		if n%2 == 0 {
			name += "_SNAPSHOT"
		}
		return name
	}
	return "HIGHER_VERSION"
}

// versionLines hold the first ordinal of each unbroken run of releases.
var versionLines = []struct{ first, major, minor, patch int32 }{
	{16, 3, 0, 1}, {46, 3, 1, 0}, {66, 3, 2, 0}, {86, 3, 3, 1}, {104, 3, 4, 1}, {122, 3, 5, 1},
	{140, 3, 6, 1}, {158, 3, 7, 1}, {176, 3, 8, 1}, {194, 3, 9, 1}, {212, 4, 0, 0}, {232, 4, 1, 0},
	{252, 4, 2, 0}, {272, 4, 3, 0}, {292, 4, 4, 0}, {312, 4, 5, 0}, {332, 4, 6, 0}, {352, 4, 7, 0},
	{372, 4, 8, 0}, {392, 4, 9, 0}, {412, 5, 0, 0}, {432, 5, 1, 0}, {452, 5, 2, 0}, {472, 5, 3, 0},
	{492, 5, 4, 0}, {512, 5, 5, 0}, {532, 5, 6, 0}, {552, 5, 7, 0}, {572, 5, 8, 0}, {592, 5, 9, 0},
}
