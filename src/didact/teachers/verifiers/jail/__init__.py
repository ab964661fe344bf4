"""The processes inside the sandbox, which import the standard library only, and nothing of didact.

`walls` drops a process's rights; `wire` carries plain data between processes that don't trust each other;
`values` encodes values of the standard library, `peer`, `standins` and `acts` everything that is not plain data.
`solution` runs the model's code, `grader` the tests, `together` both in one process; `layouts` finds the tests;
`packages` lets some packages be imported; `supervise` starts and ends them all. `scoring` compares texts.
"""
