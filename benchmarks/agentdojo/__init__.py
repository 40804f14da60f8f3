"""AgentDojo's four suites, played by an agent that obeys every injection, in front of tools that a guard stands around.

No model is involved, so that a figure says what the guard holds and not how easily a model is fooled. The agent makes
the calls that AgentDojo gives as the right ones for the user's task; as soon as a tool's *result* holds the injected
text, it makes the calls that the injection wants, all of them, whatever is refused meanwhile, and then goes on with the
user's. The human whom the guard asks refuses what the injection wants and approves what the user wants.

``world`` makes AgentDojo's functions tools of LangChain, ``plans`` says what each injection wants and of what kind that
is, ``agent`` plays one user's task with one injection, ``policies`` reads what a guard is given, ``report`` counts.
"""
