// Package host sees to it that a folder's authority runs on this machine: it is
// found at its admin socket, or started as a process of its own, which ends when
// the one that started it does. Of several that watch one folder, one hosts it,
// and when that one goes, another does within seconds.
package host
