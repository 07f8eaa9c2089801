package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Arch is a processor architecture that there is a table of call numbers for.
type Arch string

// The architectures.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// auditArch is how the kernel names an architecture to a filter (linux/audit.h). A filter that does not check it could be
// called with the numbers of another architecture, such as 32-bit x86.
var auditArch = map[Arch]uint32{AMD64: unix.AUDIT_ARCH_X86_64, ARM64: unix.AUDIT_ARCH_AARCH64}

// number is a system call's number on each architecture that has it.
var number = map[string]map[Arch]uint32{
	"read":              {AMD64: 0, ARM64: 63},
	"write":             {AMD64: 1, ARM64: 64},
	"close":             {AMD64: 3, ARM64: 57},
	"fstat":             {AMD64: 5, ARM64: 80},
	"poll":              {AMD64: 7}, // arm64 never had it
	"lseek":             {AMD64: 8, ARM64: 62},
	"mmap":              {AMD64: 9, ARM64: 222},
	"mprotect":          {AMD64: 10, ARM64: 226},
	"munmap":            {AMD64: 11, ARM64: 215},
	"brk":               {AMD64: 12, ARM64: 214},
	"rt_sigaction":      {AMD64: 13, ARM64: 134},
	"rt_sigprocmask":    {AMD64: 14, ARM64: 135},
	"rt_sigreturn":      {AMD64: 15, ARM64: 139},
	"ioctl":             {AMD64: 16, ARM64: 29},
	"pread64":           {AMD64: 17, ARM64: 67},
	"sched_yield":       {AMD64: 24, ARM64: 124},
	"mremap":            {AMD64: 25, ARM64: 216},
	"madvise":           {AMD64: 28, ARM64: 233},
	"nanosleep":         {AMD64: 35, ARM64: 101},
	"getpid":            {AMD64: 39, ARM64: 172},
	"recvmsg":           {AMD64: 47, ARM64: 212},
	"clone":             {AMD64: 56, ARM64: 220},
	"exit":              {AMD64: 60, ARM64: 93},
	"fcntl":             {AMD64: 72, ARM64: 25},
	"sigaltstack":       {AMD64: 131, ARM64: 132},
	"prctl":             {AMD64: 157, ARM64: 167},
	"gettid":            {AMD64: 186, ARM64: 178},
	"futex":             {AMD64: 202, ARM64: 98},
	"sched_getaffinity": {AMD64: 204, ARM64: 123},
	"restart_syscall":   {AMD64: 219, ARM64: 128},
	"fadvise64":         {AMD64: 221, ARM64: 223},
	"clock_gettime":     {AMD64: 228, ARM64: 113},
	"clock_nanosleep":   {AMD64: 230, ARM64: 115},
	"exit_group":        {AMD64: 231, ARM64: 94},
	"epoll_ctl":         {AMD64: 233, ARM64: 21},
	"tgkill":            {AMD64: 234, ARM64: 131},
	"openat":            {AMD64: 257, ARM64: 56},
	"fchownat":          {AMD64: 260, ARM64: 54},
	"ppoll":             {AMD64: 271, ARM64: 73},
	"set_robust_list":   {AMD64: 273, ARM64: 99},
	"epoll_pwait":       {AMD64: 281, ARM64: 22},
	"timerfd_settime":   {AMD64: 286, ARM64: 86},
	"getrandom":         {AMD64: 318, ARM64: 278},
	"rseq":              {AMD64: 334, ARM64: 293},
	"clone3":            {AMD64: 435, ARM64: 435},
	"openat2":           {AMD64: 437, ARM64: 437},
}

// Offsets in struct seccomp_data (linux/seccomp.h). Both architectures are little-endian, so the low half comes first.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

// x32Bit marks a call of the x32 ABI, which shares the architecture's name with amd64 but not its numbers.
const x32Bit = 0x40000000

// Filter compiles the policy's calls for an architecture. Each test jumps at most over its own few instructions, so that
// no jump can grow out of its eight bits.
func (p Policy) Filter(arch Arch) ([]unix.SockFilter, error) {
	id, ok := auditArch[arch]
	if !ok {
		return nil, fmt.Errorf("sandbox: no table for architecture %s", arch)
	}
	f := []unix.SockFilter{
		load(dataArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: id},
		result(Kill),
		load(dataNumber),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, Jf: 1, K: x32Bit},
		result(Kill),
	}
	seen := map[string]bool{}
	for _, c := range p.Calls {
		numbers, ok := number[c.Name]
		if !ok {
			return nil, fmt.Errorf("sandbox: no number for %s", c.Name)
		}
		nr, ok := numbers[arch]
		if !ok {
			continue
		}
		if seen[c.Name] || c.Arg < 0 || c.Arg > 5 || len(c.Values) > 64 {
			return nil, fmt.Errorf("sandbox: the rule for %s cannot be compiled", c.Name)
		}
		seen[c.Name] = true
		var body []unix.SockFilter
		if len(c.Values) > 0 {
			body = append(body, load(dataArgs+8*uint32(c.Arg)), unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: c.Mask})
			for i, v := range c.Values {
				// To the last instruction of the body, over the values still to come and Otherwise.
				body = append(body, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(c.Values) - i), K: v})
			}
			body = append(body, result(c.Otherwise))
		}
		body = append(body, result(c.Then))
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(len(body)), K: nr})
		f = append(f, body...)
	}
	return append(f, result(Kill)), nil
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func result(a Action) unix.SockFilter {
	k := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	switch {
	case a == Allow:
		k = unix.SECCOMP_RET_ALLOW
	case a&refuse != 0:
		k = unix.SECCOMP_RET_ERRNO | uint32(a&0xFFFF)
	}
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}
