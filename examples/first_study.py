"""A small sweep, its law and a figure, without the command line."""

import harness
from harness import MLP, WSD, AdamW, RunSpec, TeacherStudent, product, with_seeds

if __name__ == "__main__":
    data = TeacherStudent(inputs=8, unique_examples=4096, eval_examples=512)
    adam, model = AdamW(lr=0.01), MLP(width=8)
    base = RunSpec(model=model, data=data, optimizer=adam, schedule=WSD(), batch=64)
    grid = product(base, {"model.width": [4, 8, 16, 32], "steps": [64, 128, 256, 512]})
    study = harness.run(with_seeds(grid, [0, 1]), "results/first_study")
    print(study.fit("chinchilla", bootstrap=200))
    study.figure("law").savefig("law.png")
