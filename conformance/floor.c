/* The bench's floor: a plan of `run`, carried out by pyrunc-init for a runtime that has nothing to think about.
 *
 *     floor PYRUNC-INIT PLAN
 *
 * It does what no runtime on this executor can leave out: seal plan and program, start it, answer, wait. The plan comes
 * from `pyrunc --cgroup-manager disabled plan --format binary`, so that no cgroup need be there; rlimits, id maps and
 * hooks, which are the runtime's part, are left out. Exits with the container's status, 128 + n for a signal, and with 1
 * if the container did not come to be.
 */
#define _GNU_SOURCE
#include "plan.h"
#include "shim/channel.h"
#include "shim/memfd.h"
#include "shim/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const places[] = {
#define TEXT(name, number, text) [number] = text,
    PLAN_PLACES(TEXT)
#undef TEXT
};

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "floor: %s: %s\n", what, why);
    exit(1);
}

static int must(const char *what, int result) {
    if (result < 0)
        die(what, strerror(-result));
    return result;
}

static int sys(const char *what, int result) { return must(what, result < 0 ? -errno : result); }

/* pyrunc-init checks the plan; here stands only what this program cannot do for it. */
static const struct plan_header *map_plan(const char *path) {
    struct stat st;
    int fd = sys(path, open(path, O_RDONLY | O_CLOEXEC));
    sys(path, fstat(fd, &st));
    if ((size_t)st.st_size < sizeof(struct plan_header))
        die(path, "no plan");
    const struct plan_header *h = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (h == MAP_FAILED)
        die(path, strerror(errno));
    if (h->magic != PLAN_MAGIC || h->version != PLAN_VERSION || h->size != (size_t)st.st_size)
        die(path, "no plan");
    if (h->npassed || h->preserve)
        die(path, "the plan wants file descriptors: not one of `run`");
    close(fd);
    return h;
}

static _Noreturn void failed(const struct plan_message *m) {
    char why[PLAN_DETAIL + 128], what[32];
    const char *place = m->value < sizeof places / sizeof *places ? places[m->value] : "?";
    snprintf(what, sizeof what, "op %u", m->op);
    snprintf(why, sizeof why, "%s%s%.*s: %s", place, m->detail[0] ? " " : "", PLAN_DETAIL, m->detail, strerror(m->error));
    die(what, why);
}

/* Until the stream ends, which is execve(2)'s doing or the end of the process. Returns who has become the container. */
static int converse(int channel, int pid) {
    struct plan_message m = {0};
    int passed;
    long n;
    while ((n = pyrunc_receive(channel, &m, sizeof m, &passed)) > 0) {
        if (n < PLAN_MESSAGE_HEAD || passed >= 0)
            die("pyrunc-init", passed >= 0 ? "a terminal: not for this program" : "short message");
        if (m.kind == MSG_ERROR)
            failed(&m);
        if (m.kind == MSG_SYNC)
            sys("answer", (int)send(channel, "\n", 1, MSG_NOSIGNAL));
        if (m.kind == MSG_FORKED) {
            sys("first process", waitpid(pid, NULL, 0));
            pid = (int)m.value;
        }
    }
    if (n < 0 && n != -ECONNRESET)
        die("pyrunc-init", strerror((int)-n));
    return pid;
}

int main(int argc, char **argv) {
    struct plan_step step;
    int channel[2], status;
    if (argc != 3)
        die("usage", "floor PYRUNC-INIT PLAN");
    const struct plan_header *h = map_plan(argv[2]);
    int plan = must("seal the plan", pyrunc_sealed_data("plan", h, h->size));
    int init = must(argv[1], pyrunc_sealed_program("pyrunc-init", argv[1]));
    int page = sys("step page", memfd_create("step", MFD_CLOEXEC));
    sys("step page", ftruncate(page, PLAN_STEP_SIZE));
    must("channel", pyrunc_channel(channel));
    const int fds[] = {plan, channel[1], page};
    int pid = must("start pyrunc-init", pyrunc_spawn(init, fds, 3, 3));
    close(channel[1]);
    pid = converse(channel[0], pid);
    sys("wait", waitpid(pid, &status, 0));
    status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (pread(page, &step, sizeof step, 0) != sizeof step || step.op + 1 != h->nops) {
        fprintf(stderr, "floor: pyrunc-init ended at op %u of %u with status %d\n", step.op, h->nops, status);
        return 1;
    }
    return status;
}
