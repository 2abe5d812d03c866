/* Replaces parts of a static glibc that no program of ours uses. See scripts/build.
 *
 * An empty program would link 0.4 MB of them: an assertion in libc translates its message, for
 * that it reads catalogues, converts character sets and loads shared objects; the main thread's
 * stack is looked up with scanf, which reads floating-point numbers; and so on. Each function
 * here is the only way into such a part. The linker finds it before libc's.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Messages are not translated: the standard library of Rust never calls setlocale. */
char *__dcgettext(const char *domain, const char *message, int category) {
    return (char *)message;
}

/* The text of an error. Rust itself adds the number. */
extern const char *__get_errlist(int error) __attribute__((visibility("hidden")));

char *__strerror_r(int error, char *buffer, size_t length) {
    const char *text = __get_errlist(error);
    return (char *)(text ? text : "Unknown error");
}

/* Conversion of character sets, which only wide characters use. */
char __wcsmbs_gconv_fcts_c[64];

void __wcsmbs_load_conv(void *locale) { abort(); }

void __wcsmbs_clone_conv(void *functions) { abort(); }

int __wcsmbs_named_conv(void *functions, const char *name) { return 1; }

/* Rust looks up functions that an older libc lacks. A static program has no table of symbols, so
 * none is ever found. */
void *dlsym(void *library, const char *name) { return NULL; }

void *__dlsym(void *library, const char *name) { return NULL; }

/* The resolver's state of a thread. Nothing looks up names: see scripts/build. */
__thread void *__libc_resp;

/* The standard library names only the thread that calls this. */
int pthread_setname_np(unsigned long thread, const char *name) {
    return prctl(PR_SET_NAME, name) == 0 ? 0 : errno;
}

/* Rust asks for the guard page of each thread's stack, to name the thread in a message when its
 * stack overflows. Without it the signal, SIGSEGV, ends the program without this message. glibc
 * would parse /proc/self/maps at every start. */
int pthread_getattr_np(unsigned long thread, void *attributes) { return ENOTSUP; }

/* Assertions of libc and of its allocator. */
_Noreturn void __assert_fail_base(const char *format, const char *assertion, const char *file,
                                  unsigned line, const char *function) {
    ssize_t ignored = write(2, assertion, strlen(assertion));
    ignored = write(2, "\n", 1);
    (void)ignored;
    abort();
}

_Noreturn void __assert_fail(const char *assertion, const char *file, unsigned line,
                             const char *function) {
    __assert_fail_base("", assertion, file, line, function);
}

/* Standard I/O, which only malloc_stats and malloc_info use. */
int fprintf(void *file, const char *format, ...) { return -1; }

int __fprintf(void *file, const char *format, ...) { return -1; }

int _IO_fprintf(void *file, const char *format, ...) { return -1; }

size_t fwrite(const void *bytes, size_t size, size_t count, void *file) { return 0; }

size_t _IO_fwrite(const void *bytes, size_t size, size_t count, void *file) { return 0; }

int fputs(const char *text, void *file) { return -1; }

int _IO_fputs(const char *text, void *file) { return -1; }

/* Only the messages of failed checks are formatted with it. */
int snprintf(char *text, size_t length, const char *format, ...) {
    if (length > 0)
        *text = 0;
    return 0;
}

int __snprintf(char *text, size_t length, const char *format, ...) {
    if (length > 0)
        *text = 0;
    return 0;
}

/* The stack is never unwound: a panic aborts, no thread is cancelled, and the tables that
 * unwinding reads are not there (no-unwinding.ld). src/system/backtrace.rs has one more. */
#define NEVER_CALLED(name) \
    void name(void) { abort(); }

NEVER_CALLED(_Unwind_DeleteException)
NEVER_CALLED(_Unwind_FindEnclosingFunction)
NEVER_CALLED(_Unwind_ForcedUnwind)
NEVER_CALLED(_Unwind_GetCFA)
NEVER_CALLED(_Unwind_GetDataRelBase)
NEVER_CALLED(_Unwind_GetGR)
NEVER_CALLED(_Unwind_GetIP)
NEVER_CALLED(_Unwind_GetIPInfo)
NEVER_CALLED(_Unwind_GetLanguageSpecificData)
NEVER_CALLED(_Unwind_GetRegionStart)
NEVER_CALLED(_Unwind_GetTextRelBase)
NEVER_CALLED(_Unwind_RaiseException)
NEVER_CALLED(_Unwind_Resume)
NEVER_CALLED(_Unwind_SetGR)
NEVER_CALLED(_Unwind_SetIP)
NEVER_CALLED(__gcc_personality_v0)
