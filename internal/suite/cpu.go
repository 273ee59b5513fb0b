package suite

import "golang.org/x/sys/cpu"

// accelerated is decided once: the processor does not change.
var accelerated = cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3 ||
	cpu.ARM64.HasAES && cpu.ARM64.HasPMULL ||
	cpu.S390X.HasAES && cpu.S390X.HasAESCTR && cpu.S390X.HasGHASH

// AcceleratedAES reports whether the processor has instructions for AES and for
// GHASH, both of which AES-GCM needs to be fast and constant in time.
func AcceleratedAES() bool { return accelerated }
