// SPDX-License-Identifier: MIT
// Plans, streams, pools and their memory from many threads, without Python: `plan_check`, 0 where every
// result has the bits of a lone caller. What ThreadSanitizer is to see (preset tsan): there is no GIL here
// whose hand-overs would order what happens to be apart.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/threads.h"
#include "ops/registry.h"
#include "plan/plan.h"
#include "plan/stream.h"
#include "plan/stream_pool.h"

namespace {

using namespace unrolled;  // NOLINT: a program of its own

constexpr Index kFeatures = 3;
constexpr Index kUnits = 6;
constexpr Index kColumns = 64;
constexpr int kThreads = 6;

std::atomic<int> failures{0};

void expect(bool holds, const char* what) {
  if (holds) return;
  if (failures.fetch_add(1) < 20) std::fprintf(stderr, "failed: %s\n", what);
}

std::vector<float> random_floats(Index count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(-0.5f, 0.5f);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = distribution(random);
  return values;
}

// Runs work(0) to work(kThreads - 1), each on a thread of its own, begun together.
void at_once(const std::function<void(int)>& work) {
  std::atomic<bool> begins{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      while (!begins.load(std::memory_order_relaxed)) std::this_thread::yield();
      work(i);
    });
  }
  begins.store(true, std::memory_order_relaxed);
  for (std::thread& thread : threads) thread.join();
}

Array array(std::vector<Index> dims, unsigned seed) {
  const Shape shape = make_shape(dims);
  const auto values = std::make_shared<std::vector<float>>(random_floats(element_count(shape), seed));
  return {values->data(), shape, values};
}

std::vector<int> add_lstm(Graph& graph, int x, const std::vector<Index>& states) {
  static const OpRecord record = records::recurrent();
  Arguments direction{&direction_schema(),
                      {std::string("lstm"), array({kFeatures, 4 * kUnits}, 1), array({kUnits, 4 * kUnits}, 2),
                       array({4 * kUnits}, 3), kernels::Activation{kernels::ActivationKind::kTanh},
                       kernels::Activation{kernels::ActivationKind::kSigmoid}, false, false, false, false}};
  std::vector<Argument> values{
      Index{x}, std::vector<Arguments>{direction}, std::monostate{}, states, true, !states.empty(), false};
  return graph.add(record, {&record.schema, std::move(values)});
}

int add_dense(Graph& graph, int x) {
  static const OpRecord record = records::dense();
  std::vector<Argument> values{Index{x}, array({kUnits, kColumns}, 4), array({kColumns}, 5),
                               kernels::Activation{kernels::ActivationKind::kTanh}};
  return graph.add(record, {&record.schema, std::move(values)})[0];
}

// x [batch, timesteps, features] -> LSTM -> Dense -> Dense's mean over time.
Graph make_graph() {
  static const OpRecord reduce = records::reduce();
  Graph graph;
  const int x = graph.add_input(DType::kFloat32, 3);
  const int wide = add_dense(graph, add_lstm(graph, x, {})[0]);
  std::vector<Argument> values{Index{wide}, std::string("mean"), std::vector<Index>{1}, false};
  graph.finish(graph.add(reduce, {&reduce.schema, std::move(values)}));
  return graph;
}

// x, h and c -> the LSTM's output after a Dense, h and c.
Graph make_stream_graph() {
  Graph graph;
  const int x = graph.add_input(DType::kFloat32, 3);
  const int h = graph.add_input(DType::kFloat32, 2);
  const int c = graph.add_input(DType::kFloat32, 2);
  const std::vector<int> results = add_lstm(graph, x, {h, c});
  graph.finish({add_dense(graph, results[0]), results[1], results[2]});
  return graph;
}

StreamPlan make_stream_plan(const Plan& plan) {
  StreamPlan result;
  result.plan = &plan;
  result.inputs = {{DType::kFloat32, make_shape(std::vector<Index>{1, 1, kFeatures})}};
  result.output_count = 1;
  const CarriedState state{{DType::kFloat32, make_shape(std::vector<Index>{kUnits})}, 0.0f};
  result.states = {state, state};
  return result;
}

std::vector<float> run(const Plan& plan, Index batch, Index timesteps, int threads,
                       Stop::Question question = nullptr) {
  const std::vector<float> x =
      random_floats(batch * timesteps * kFeatures, static_cast<unsigned>(batch * 1000 + timesteps));
  const std::vector<TensorType> types = {
      {DType::kFloat32, make_shape(std::vector<Index>{batch, timesteps, kFeatures})}};
  std::vector<float> y(static_cast<std::size_t>(batch * kColumns));
  Plan::Run call(plan, types);
  const std::vector<const void*> from = {x.data()};
  const std::vector<void*> to = {y.data()};
  Stop stop(question);
  call.execute(from, to, threads == 3 ? 2 : 0, threads, stop);
  return y;
}

struct Sizes {
  Index batch;
  Index timesteps;
};
constexpr Sizes kSizes[] = {{1, 1}, {1, 7}, {5, 9}, {17, 3}, {64, 20}};

void first_calls_and_later_ones() {
  const Plan lone(make_graph());
  std::vector<std::vector<float>> expected;
  for (const Sizes& sizes : kSizes) expected.push_back(run(lone, sizes.batch, sizes.timesteps, 1));
  for (int round = 0; round < 5; ++round) {
    const Plan plan(make_graph());
    at_once([&](int index) {
      for (int call = 0; call < 20; ++call) {
        const auto which = static_cast<std::size_t>(index + call) % std::size(kSizes);
        // 0: as many as seem worth it; the number of threads changes beside.
        const int threads = (index * 7 + call) % 5;
        if (call % 5 == 0) set_num_threads(1 + (index + call) % 4);
        const auto y = run(plan, kSizes[which].batch, kSizes[which].timesteps, threads);
        expect(y == expected[which], "a run beside others has the bits of a lone one");
      }
    });
  }
  set_num_threads(4);
}

// Workspaces of megabytes, taken back while runs go on and while plans end.
void memory_that_is_taken_back() {
  const Plan lone(make_graph());
  const auto expected = run(lone, 400, 64, 1);
  for (int round = 0; round < 2; ++round) {
    const auto shared = std::make_unique<Plan>(make_graph());
    at_once([&](int index) {
      for (int call = 0; call < 3; ++call) {
        expect(run(*shared, 400, 64, 1) == expected, "a run in large workspaces has the bits of a lone one");
        if (index % 2 == 1) {
          const Plan own(make_graph());
          expect(run(own, 400, 64, 1) == expected, "a plan that soon ends gives the bits of another");
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds(100 * (call + 1)));
        }
      }
    });
  }
}

std::atomic<int> questions{0};
bool always() noexcept {
  questions.fetch_add(1, std::memory_order_relaxed);
  return true;
}
bool never() noexcept { return false; }

void stopped_runs_beside_others() {
  const Plan plan(make_graph());
  const auto expected = run(plan, 8, 50, 1);
  std::atomic<int> stopped{0};
  at_once([&](int index) {
    for (int call = 0; call < 4; ++call) {
      if (index % 2 == 0) {
        expect(run(plan, 8, 50, call, &never) == expected, "a run goes on where another one is stopped");
        continue;
      }
      try {
        run(plan, 64, 30000, call, &always);  // longer than the time between two questions
      } catch (const Stopped&) {
        stopped.fetch_add(1);
      }
    }
  });
  expect(stopped.load() > 0 && questions.load() > 0, "runs are stopped");
  expect(run(plan, 8, 50, 2) == expected, "a plan is as before after runs that were stopped");
}

std::vector<float> lone_stream(const Plan& plan, const std::vector<float>& x, Index timesteps) {
  Stream stream(make_stream_plan(plan), 1);
  std::vector<float> y(static_cast<std::size_t>(timesteps * kColumns));
  for (Index t = 0; t < timesteps; ++t) {
    const std::vector<const void*> from = {x.data() + t * kFeatures};
    const std::vector<void*> to = {y.data() + t * kColumns};
    Stop stop;
    stream.step(from, to, stop);
  }
  return y;
}

// Clients come, go on, are saved, put back and leave, on all threads; the pool grows meanwhile.
void clients_of_one_pool() {
  constexpr Index kTimesteps = 12;
  const Plan plan(make_stream_graph());
  const auto x = random_floats(kTimesteps * kFeatures, 77);
  const auto expected = lone_stream(plan, x, kTimesteps);
  StreamPool pool(make_stream_plan(plan), 1);
  at_once([&](int index) {
    for (int turn = 0; turn < 8; ++turn) {
      const Index count = 1 + (index + turn) % 3;
      std::vector<std::int64_t> ids;
      for (Index i = 0; i < count; ++i) ids.push_back(pool.open());
      std::vector<float> in(static_cast<std::size_t>(count * kFeatures));
      std::vector<float> out(static_cast<std::size_t>(count * kColumns));
      for (Index t = 0; t < kTimesteps; ++t) {
        for (Index i = 0; i < count; ++i) std::copy_n(&x[t * kFeatures], kFeatures, &in[i * kFeatures]);
        const std::vector<const void*> from = {in.data()};
        const std::vector<void*> to = {out.data()};
        Stop stop;
        pool.step(ids, from, to, stop);
        for (Index i = 0; i < count; ++i) {
          expect(std::memcmp(&out[i * kColumns], &expected[t * kColumns], kColumns * sizeof(float)) == 0,
                 "a client of a pool gets what a lone stream gives");
        }
        if (t == 5) {
          // Saved, moved to a fresh client, and gone on with there.
          float h[kUnits];
          float c[kUnits];
          std::int64_t seen = 0;
          const std::vector<void*> states = {h, c};
          pool.read(ids[0], states, seen);
          expect(seen == t + 1, "a client knows its age");
          pool.close(ids[0]);
          ids[0] = pool.open();
          pool.reset(ids[0]);
          const std::vector<const void*> given = {h, c};
          pool.write(ids[0], given, seen);
        }
        expect(pool.size() <= pool.capacity(), "a pool has room for its clients");
      }
      for (const std::int64_t id : ids) pool.close(id);
    }
  });
  expect(pool.size() == 0, "all clients have left");
}

// Each thread has a stream of its own over one plan, by steps and by blocks.
void streams_of_one_plan() {
  constexpr Index kTimesteps = 30;
  const Plan plan(make_stream_graph());
  const auto x = random_floats(kTimesteps * kFeatures, 78);
  const auto expected = lone_stream(plan, x, kTimesteps);
  at_once([&](int index) {
    for (int turn = 0; turn < 5; ++turn) {
      if (index % 2 == 0) {
        expect(lone_stream(plan, x, kTimesteps) == expected, "streams of one plan do not meet");
        continue;
      }
      Stream stream(make_stream_plan(plan), 1);
      std::vector<float> y(expected.size());
      const std::vector<const void*> from = {x.data()};
      const std::vector<void*> to = {y.data()};
      Stop stop;
      stream.run(kTimesteps, from, to, stop);
      expect(y == expected, "a block gives the bits of its steps");
    }
  });
}

}  // namespace

int main() {
  set_num_threads(4);
  first_calls_and_later_ones();
  memory_that_is_taken_back();
  stopped_runs_beside_others();
  clients_of_one_pool();
  streams_of_one_plan();
  if (failures.load() == 0) return 0;
  std::fprintf(stderr, "%d expectations failed\n", failures.load());
  return 1;
}
