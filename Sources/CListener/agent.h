#ifndef CDMFS_AGENT_H
#define CDMFS_AGENT_H

// Where an agent is in the address space of a program, and the layout of its data; for agent.S, too.

// The code, the data behind it, and the page that tells address spaces apart. They lie below the lowest address of a position-independent
// program (ELF_ET_DYN_BASE), where sanitizers have programs, too: ThreadSanitizer ends a program that has a mapping elsewhere.
#define AGENT_CODE 0x550cd0000000
#define AGENT_DATA (AGENT_CODE + 0x1000)
#define AGENT_MARK (AGENT_CODE + 0x10000)

// struct agent_data
#define AGENT_WAITS 0
#define AGENT_TEXT_PROTECTION 4
#define AGENT_NUMBER 8
#define AGENT_RESUME 16
#define AGENT_TEXT 24
#define AGENT_TEXT_PAGE 32
#define AGENT_TEXT_LENGTH 40
#define AGENT_DEVICE 48
#define AGENT_SOCKET 52
#define AGENT_ALL_SIGNALS 56
#define AGENT_OLD_SIGNALS 64
#define AGENT_MESSAGE 72
#define AGENT_VECTOR 128
#define AGENT_CONTROL 144
#define AGENT_FAULTS 160
#define AGENT_IS_FIRST 164
#define AGENT_RESULT 168
#define AGENT_COMMAND 176
#define AGENT_NAME 232
#define AGENT_ROOT 248
#define AGENT_IS_MARKED 252
#define AGENT_SAVED 256
#define AGENT_STUB_LENGTH 64
// The rest is the stack of the agent, which makes system calls alone.
#define AGENT_STACK_LIMIT 2048

#endif
