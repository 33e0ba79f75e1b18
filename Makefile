# Squall: each target is one line that calls go or a script. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help build scenario scenarios soak falsify tools test test-kind check bench accuracy overhead workers schema kind-up kind-down clean

# Set on the command line alone: shells and systems set variables with these names for other ends.
NAME =
ENV = local
CONTEXT =
NAMESPACE =
YES =
GENERATOR =
UI =
ARGS =
JOBS = 4
N = 20

# What a run on a cluster is told beside its environment.
CLUSTER = $(if $(CONTEXT), --context $(CONTEXT))$(if $(NAMESPACE), --namespace $(NAMESPACE))$(if $(YES), --yes)$(if $(GENERATOR), --load-generator $(GENERATOR))

# The page of a run under way: at a free port of a loopback address, or at another address.
PAGE = $(if $(UI), --ui$(if $(filter-out 1,$(UI)),=$(UI)))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/squall
	go build -trimpath -o bin/squall ./cmd/squall

# On a cluster also KUBECONFIG=FILE, which make passes on as a variable.
scenario: build ## Run a scenario and judge it: make scenario NAME=circuit [ENV=kind|cluster [CONTEXT= NAMESPACE= YES=1] [GENERATOR=fortio]] [UI=1|ADDRESS] [ARGS="--set k=v"]
	bin/squall run $(or $(NAME),$(error say which scenario: make scenario NAME=circuit; bin/squall list shows all)) --env $(ENV)$(CLUSTER)$(PAGE) $(ARGS)

scenarios: build ## Run all scenarios, JOBS side by side, and print a table
	bin/squall run --all --jobs $(JOBS) --keep failed $(ARGS)

soak: build ## Run all scenarios N times and show how often each had which verdict: make soak N=20
	bin/squall run --all --jobs $(JOBS) --repeat $(N) --keep failed $(ARGS)

falsify: build ## Leave out each step of each scenario in turn: none of these runs may pass
	bin/squall falsify --all --jobs $(JOBS) $(ARGS)

tools: ## Build and fetch what the local mesh runs on, and kubectl, into bin/tools; runs do so by themselves
	go run ./scripts/tools

test: tools ## Run all tests, and all scenarios on a real local mesh, with a table of them
	JOBS=$(JOBS) scripts/test $(ARGS)

test-kind: build ## Run all scenarios on a Kubernetes cluster in Docker and on the local mesh, and compare them
	scripts/test-kind $(ARGS)

check: tools ## Format, vet, lint, known vulnerabilities, race detector; in CI also a clean tree
	scripts/check

bench: tools build ## Measure speed and memory, print a table, write reports/bench.json
	go run ./internal/bench -squall bin/squall -json reports/bench.json $(ARGS)

accuracy: build ## Measure how near the mesh comes to the percentages of its rules, and write docs/accuracy.md
	go run ./scripts/figures accuracy

overhead: build ## Measure what the mesh costs beside none, print the table, and write docs/overhead.md
	go run ./scripts/figures overhead

workers: build ## Measure a load by one, two and four workers, and write docs/workers.md: make workers ENV=kind
	go run ./scripts/figures workers --env $(ENV)$(CLUSTER) $(ARGS)

schema: build ## Print the JSON Schema of scenarios
	bin/squall schema

kind-up: build ## Make a Kubernetes cluster in Docker ready, with Istio and Squall's images
	bin/squall kind up $(ARGS)

kind-down: build ## Remove that cluster
	bin/squall kind down $(ARGS)

clean: ## Remove what was built and the results of runs; the cached programs stay in the user's cache folder
	git clean -fdXq bin reports .squall
