// Times a training step of llm.c's GPT-2 in C, for `dagpam bench step --peer`: forward, backward and
// AdamW on random tokens and weights; it has no clipping. What it runs is train_gpt2.c of a checkout of
// https://github.com/karpathy/llm.c, with the flags of its Makefile:
//   cc -Ofast -fno-finite-math-only -march=native -fopenmp -DTESTING -I LLMC tests/peers/llmc_step.c \
//     -lm -o llmc_step
//   llmc_step [batch [context]]        (default: 4 64)
#include "train_gpt2.c"

#include <sys/resource.h>
#include <unistd.h>

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static void make_model(GPT2* model) {
  memset(model, 0, sizeof *model);
  model->config = (GPT2Config){1024, 50257, 50304, 12, 12, 768};
  fill_in_parameter_sizes(model->param_sizes, model->config);
  for (int i = 0; i < NUM_PARAMETER_TENSORS; i++) model->num_parameters += model->param_sizes[i];
  model->params_memory = malloc_and_point_parameters(&model->params, model->param_sizes);
  for (size_t i = 0; i < model->num_parameters; i++) {
    model->params_memory[i] = 0.04f * ((float)rand() / (float)RAND_MAX - 0.5f);
  }
}

static double step(GPT2* model, int* tokens, int batch, int context) {
  static int count = 0;
  const double begin = seconds_now();
  for (int i = 0; i <= batch * context; i++) tokens[i] = rand() % model->config.vocab_size;
  gpt2_forward(model, tokens, tokens + 1, batch, context);
  gpt2_zero_grad(model);
  gpt2_backward(model);
  gpt2_update(model, 6e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, ++count);
  return seconds_now() - begin;
}

int main(int argc, char** argv) {
  const int batch = argc > 1 ? atoi(argv[1]) : 4, context = argc > 2 ? atoi(argv[2]) : 64;
  if (batch < 1 || context < 1 || context > 1024) {
    fprintf(stderr, "llmc_step: batch %d, context %d: from 1, from 1 to 1024\n", batch, context);
    return 2;
  }
  // llm.c itself prints to standard output.
  FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
  dup2(STDERR_FILENO, STDOUT_FILENO);
  GPT2 model;
  make_model(&model);
  int* tokens = malloc(((size_t)batch * context + 1) * sizeof *tokens);
  step(&model, tokens, batch, context);
  fprintf(answers, "{\"peer\": \"llm.c\", \"ready\": true}\n");
  fflush(answers);
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    const int steps = atoi(line);
    if (steps < 1) return 2;
    double* times = malloc((size_t)steps * sizeof *times);
    for (int i = 0; i < steps; i++) times[i] = step(&model, tokens, batch, context);
    qsort(times, (size_t)steps, sizeof *times, ascending);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(answers, "{\"step_ms\": %.3f, \"peak_memory\": %lld}\n", 1e3 * times[steps / 2],
           1024LL * usage.ru_maxrss);
    fflush(answers);
    free(times);
  }
  free(tokens);
  gpt2_free(&model);
  return 0;
}
