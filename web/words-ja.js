/**
 * The pages in Japanese.
 *
 * @module
 */

/** @type {Record<string, string>} */
export const ja = {
  // The menu and what all pages have.
  'Pages': 'ページ',
  'Streams': 'ストリーム',
  'Menu': 'メニュー',
  'All': 'すべて',
  'Flights': 'フライト',
  'Countdown': 'カウントダウン',
  'Clock': '時計',
  'Log': 'ログ',
  'Chat': 'チャット',
  'Answer': '応答',
  'Status': '状態',
  'Check': '確認',
  'How it works': 'しくみ',
  'Stream': 'ストリーム',
  'Stream:': 'ストリーム:',
  'Stream and address to post to:': 'ストリーム兼 POST の宛先:',
  'These pages show live data, which needs JavaScript.': 'リアルタイムの表示には JavaScript が必要です。',
  'This page needs JavaScript.': 'このページには JavaScript が必要です。',
  '“{refused}” is no address of a stream; this is the usual one.':
    '「{refused}」はストリームのアドレスではないため、既定のストリームを表示しています。',

  // The state of a connection.
  'connecting…': '接続中…',
  'live': '受信中',
  'waiting': '待機中',
  'finished': '終了',
  'stopped': '停止',
  '{reason}, trying again': '{reason}。再試行します',
  'the server answers {status}, trying again': 'サーバーが {status} を返しました。再試行します',
  'no connection, trying again': '接続できません。再試行します',
  ' in {left} s': '（{left} 秒後）',
  'the file cannot be read now': '現在ファイルを読み取れません',
  'the file does not exist yet': 'ファイルがまだありません',
  'the program cannot be started now': '現在プログラムを起動できません',
  'the session cannot be opened now': '現在セッションを開けません',
  'not available now': '現在利用できません',
  'a login page instead of the stream': 'ストリームではなくログインページが届きました',
  'too many subscribers': '接続数が上限に達しています',
  'the server is restarting': 'サーバーが再起動しています',
  'the server is not running': 'サーバーが動作していません',

  // Gaps.
  'Gap: {words} ({bytes} bytes)': '欠落: {words}（{bytes} バイト）',
  'Gap: {words}': '欠落: {words}',
  'the place to go on from could not be read': '再開位置を読み取れませんでした',
  'the place to go on from is not in this file': '再開位置がこのファイルにありません',
  'what was missed is too far back': '取り逃した分が古すぎます',
  'the file was cut short': 'ファイルが切り詰められました',
  'the file was replaced': 'ファイルが置き換えられました',
  'the line before was too long and was cut': '直前の行が長すぎるため、途中で切りました',
  'earlier lines are not remembered by any tab': 'これより前の行はどのタブにも残っていません',

  // The first page.
  'Server-Sent Events from Apache, nginx or lighttpd, live.': 'Apache、nginx、lighttpd から届く Server-Sent Events。',
  'sse-cgi: live streams': 'sse-cgi: ライブストリーム',
  'The web server you already have, live': 'いつものウェブサーバーで、リアルタイム',
  'Copy one small program into cgi-bin, and any program on the server that can append a line to a file reaches every browser the moment it does. Everything on this page is such a stream of Server-Sent Events, with no second server behind it.':
    '小さなプログラムを 1 つ cgi-bin に置くだけで、ファイルに 1 行追記できるプログラムなら何でも、その瞬間にすべてのブラウザーへ届けられます。このページの表示はすべてそうした Server-Sent Events のストリームで、別のサーバーは要りません。',
  'What each page shows, and how it works': '各ページの内容としくみ',
  'The clock, and yours': 'サーバーの時計とあなたの時計',
  'A stream that ends': '終わりのあるストリーム',
  'Start again': 'もう一度',
  'Timers': 'タイマー',
  'One script, two rhythms, named events': '1 つのスクリプト、2 つの周期、名前付きイベント',
  ' every {s} s': '（{s} 秒ごと）',
  'The flight board': 'フライトボードへ',
  'The log viewer': 'ログビューアーへ',
  'These streams come through {name}{words}. ': 'これらのストリームは {name}{words}で届いています。',
  'Nothing answers here through {name}. ': '{name} では応答がありません。',
  'The same through {name}': '{name} で見る',
  'Take {name}': '{name} を使う',
  '{words}. ': '{words}。',
  ', a program for each stream': '（ストリームごとに 1 プログラム）',
  ', one process for all': '（全体で 1 プロセス）',

  // Flights.
  'Flights · sse-cgi': 'フライト · sse-cgi',
  'A flight board kept up to date by Server-Sent Events.': 'Server-Sent Events で更新されるフライトボード。',
  'This page shows a flight board that the server keeps up to date.': 'サーバーが更新し続けるフライトボードです。',
  'Arrivals': '到着便',
  'Flight': '便名',
  'From': '出発地',
  'Due': '定刻',
  'State': '状況',
  'Stop updates': '更新を停止',
  'Resume updates': '更新を再開',
  'Last change:': '最後の変更:',
  'none yet': 'まだありません',
  'some changes were lost': '一部の変更が失われました',
  'the whole table, {count} flights': '表全体、{count} 便',
  '{name} removed': '{name} を削除',
  'The first event is the whole table, and each change is an event of its own. Stop the updates, or lose the network: when the page reconnects, it names its last event, and the server sends what came after it.':
    '最初のイベントは表全体で、その後の変更は 1 件ずつイベントになります。更新を止めても、ネットワークが切れても、再接続のときにページが最後のイベントを伝えるので、サーバーはその続きを送ります。',

  // Countdown.
  'Countdown · sse-cgi': 'カウントダウン · sse-cgi',
  'A stream that ends.': '終わりのあるストリーム。',
  'This page shows a stream that ends by itself.': '自分で終わるストリームです。',
  'The last event is named': '最後のイベントの名前は',
  ', after which the page does not reconnect. A client that reconnects all the same is answered 204: the stream is over.':
    'で、これを受け取ったページは再接続しません。それでも再接続したクライアントには、ストリームの終わりを示す 204 を返します。',

  // Clock.
  'Clock · sse-cgi': '時計 · sse-cgi',
  'The server’s time.': 'サーバーの時刻。',
  'The server’s time': 'サーバーの時刻',
  'This page shows the server’s clock, one event a second.': 'サーバーの時計です。1 秒に 1 つイベントが届きます。',
  'Day': '日付',
  'Server’s zone': 'サーバーの時間帯',
  'Your zone': 'あなたの時間帯',
  'Against your clock': '手元の時計との差',
  'the same to the millisecond': 'ミリ秒まで一致',
  'the server is {size} ahead': 'サーバーが {size} 進んでいます',
  'the server is {size} behind': 'サーバーが {size} 遅れています',
  'The difference includes the delay of the network; the best of the last ten ticks is shown.':
    '差にはネットワークの遅延が含まれます。直近 10 回のうち最も小さい値を表示しています。',

  // Log.
  'Log · sse-cgi': 'ログ · sse-cgi',
  'Follow a file on the server.': 'サーバー上のファイルを追います。',
  'This page shows a file as it grows.': 'ファイルに追記された行をすぐに表示します。',
  'View': '表示',
  'Filter: words or /regex/': '絞り込み: 語句または /正規表現/',
  'Filter: words, or a regular expression between slashes': '絞り込み: 語句、またはスラッシュで囲んだ正規表現',
  'Follow': '追尾',
  'Pause': '一時停止',
  'Go on': '再開',
  'Clear': '消去',
  'Keep': '保持行数',
  'Log lines': 'ログの行',
  'Waiting for lines.': '行を待っています。',
  'Address of the stream': 'ストリームのアドレス',
  'Named events, if it has any': '名前付きイベント（あれば）',
  'Open': '開く',
  '{n} line': '{n} 行',
  '{n} lines': '{n} 行',
  '{n} kept': '保持 {n}',
  '{n} shown': '表示 {n}',
  '{n} waiting': '待ち {n}',
  'Unavailable: {reason}': '利用できません: {reason}',
  'The stream is over': 'ストリームは終わりました',
  'A path on this server, or an http or https address, please.':
    'このサーバー上のパス、または http か https のアドレスを入力してください。',

  // Chat and answers.
  'Chat · sse-cgi': 'チャット · sse-cgi',
  'A chat: events down, posts up, and a file between them.': 'チャット。下りはイベント、上りは POST、間にあるのはファイルだけ。',
  'This page is a chat: what one visitor writes, all others read.': 'チャットです。書き込みはほかの参加者全員に届きます。',
  'Your name': '名前',
  'Enter': '入室',
  'Any name will do. To try it alone, open this page in two windows.':
    '名前は何でもかまいません。1 人で試すときは、このページを 2 つのウィンドウで開いてください。',
  'What is said': '発言',
  'What was said': 'やりとり',
  'Nothing has been said yet.': 'まだ発言がありません。',
  'Here:': '参加者:',
  'Message': 'メッセージ',
  'Message to all here': '全員へのメッセージ',
  'Your message': 'メッセージ',
  'Send': '送信',
  '{nick} is here': '{nick} さんが入室しました',
  '{nick} has left': '{nick} さんが退室しました',
  '“{words}” was perhaps not sent: {error}': '「{words}」は送信できなかった可能性があります: {error}',
  '“{words}” was not sent: {error}': '「{words}」を送信できませんでした: {error}',
  'Answer · sse-cgi': '応答 · sse-cgi',
  'A message goes up, and its answer comes down piece by piece.': 'メッセージを送ると、応答が少しずつ届きます。',
  'This page shows the answer of a program while it is produced.': 'プログラムの応答を、作られるそばから表示します。',
  'Nothing has been said yet. Type a message below: the example’s program says your own words, one at a time.':
    'まだやりとりがありません。下にメッセージを入力してください。このデモのプログラムは、あなたの言葉を 1 語ずつ返します。',
  'For example:': '例:',
  'How are you?': 'お元気ですか。',
  'Every word is an event of its own.': '言葉 ひとつひとつが イベント です。',
  'The answer has ended early ({code})': '応答が途中で終わりました（{code}）',

  // Status.
  'Status · sse-cgi': '状態 · sse-cgi',
  'How the FastCGI responder is doing.': 'FastCGI レスポンダーの状態。',
  'This page shows what the responder is doing now.': 'レスポンダーの現在の状態です。',
  'Status of the responder': 'レスポンダーの状態',
  'Open streams': '開いているストリーム',
  'Events per second': '毎秒のイベント',
  'By stream': 'ストリーム別',
  'Since it was started': '起動してから',
  'Running for': '稼働時間',
  'Oldest stream': '最も古いストリーム',
  'Events sent, to all together': '送信イベント（合計）',
  'Bytes sent': '送信バイト',
  'now': '現在',
  'Catching up': '追いつき中',
  'Dropped': '切断',
  'Connections not accepted': '受け付けられなかった接続',
  'Version': 'バージョン',
  'One process,': '1 つのプロセス',
  ', serves all these streams. Catching up: streams that are behind what the others share. Dropped: clients that read nothing for too long; they reconnect and go on after their last event.':
    'がすべてのストリームを配信しています。追いつき中: 共有の位置より遅れているストリーム。切断: 長い間何も受け取らなかったクライアント。再接続すると最後のイベントの続きから受け取ります。',
  'Figures, asked for every second': '1 秒ごとに取得する値',
  'Open streams over the last minutes': '直近数分間の開いているストリーム',
  'Events per second over the last minutes': '直近数分間の毎秒のイベント',
  '{n} s ago': '{n} 秒前',
  '{n} min ago': '{n} 分前',
  'none': 'なし',
  'the server does not answer': 'サーバーが応答しません',
  'the server answers {status}': 'サーバーが {status} を返しました',
  'what answers is no status page of sse-fcgi': '応答は sse-fcgi の状態ページではありません',
  'The responder was started again; its counters began anew.': 'レスポンダーが再起動したため、カウンターは 0 からです。',
  ' What is shown is of {time}.': ' 表示は {time} のものです。',
  'The responder cannot be reached: {reason}.': 'レスポンダーに接続できません: {reason}。',
  '“{refused}” is no address of a status page; this is the usual one.':
    '「{refused}」は状態ページのアドレスではないため、既定のものを表示しています。',

  // Check.
  'Check · sse-cgi': '確認 · sse-cgi',
  'What works on this server, and what to change if not.': 'このサーバーで何が動くか、動かないときに何を変えるか。',
  'This page checks whether events reach your browser at once.': 'イベントがブラウザーにすぐ届くかどうかを調べます。',
  'checking …': '確認中…',
  'Check again': 'もう一度確認',
  'Results': '結果',
  'What works on this server': 'このサーバーで動くもの',
  'What': '項目',
  'Result': '結果',
  'What to do': '対処',
  'Protocol': 'プロトコル',
  'unknown': '不明',
  'Events from {url}': '{url} のイベント',
  'at once': 'すぐに届く',
  'in batches': 'まとめて届く',
  'in short answers': '短い応答で届く',
  'nothing arrives': '何も届かない',
  'slowly': '遅い',
  'ends early': '途中で終わる',
  'no answer': '応答なし',
  'not a stream, but {type}': 'ストリームではなく {type}',
  'something without a type': '種類不明のもの',
  'reaches the program': 'プログラムに届く',
  'is lost': '失われる',
  'everything works': 'すべて動作しています',
  'streams work': 'ストリームは動作しています',
  'streams do not work': 'ストリームが動作していません',
  'Is the server reached at all? A proxy may hold the answer back.':
    'サーバーに届いていますか。プロキシーが応答を止めている可能性があります。',
  'The server may not run programs here: see .htaccess, and the mode 755.':
    'この場所ではプログラムを実行できません。.htaccess とモード 755 を確認してください。',
  'Nothing has this name: upload the program, or edit config.js.':
    'この名前のものがありません。プログラムをアップロードするか、config.js を直してください。',
  'The reason is in the server’s error log; docs/shared-hosting.md explains it.':
    '理由はサーバーのエラーログにあります。docs/ja/shared-hosting.md に説明があります。',
  'The server shows the program instead of running it: AddHandler cgi-script .cgi':
    'サーバーがプログラムを実行せずに送っています: AddHandler cgi-script .cgi',
  'Fewer than {n} events in {s} s. If SSE_INTERVAL is not longer:':
    '{s} 秒間のイベントが {n} 件未満です。SSE_INTERVAL がそれより長くないなら:',
  'A time limit of the server or of a proxy ends the answer; the server’s error log may say which.':
    'サーバーまたはプロキシーの時間制限で応答が終わっています。どちらかはエラーログでわかることがあります。',
  'Use the name without nph-.': 'nph- の付かない名前を使ってください。',
  'Use the name without nph-. Or a proxy collects the answer: docs/behind-a-proxy.md':
    'nph- の付かない名前を使ってください。または、プロキシーが応答をためています: docs/behind-a-proxy.md',
  'Something compresses or collects the answer. Do not compress text/event-stream; try the name with nph-.':
    '応答が圧縮されるか、ためられています。text/event-stream を圧縮しないでください。nph- の付く名前も試してください。',
  'A browser opens six connections to a host: the sixth stream waits. Use https, or sse.js, which shares one among all tabs.':
    'ブラウザーが 1 つのホストに開く接続は 6 本までなので、6 本目のストリームは待たされます。https か、全タブで 1 本を共有する sse.js を使ってください。',
  'The server or a proxy drops the field: a client that returns begins anew. Let it pass.':
    'サーバーまたはプロキシーがこのフィールドを落としているため、再接続したクライアントは最初から受け取ります。通すように設定してください。',
  'See the error log: {url}': 'エラーログを確認してください: {url}',
  'Nothing came from {url}': '{url} から何も届きませんでした',

  // About.
  'About · sse-cgi': 'しくみ · sse-cgi',
  'What each page shows, and how it works.': '各ページの内容としくみ。',
  'How these pages work': '各ページのしくみ',
  'Each page reads one stream of Server-Sent Events. The documents are in the folder':
    '各ページは Server-Sent Events のストリームを 1 つ読みます。文書はフォルダー',
  'of sse-cgi.': 'にあります（sse-cgi の配布物の中）。',
  'Program': 'プログラム',
  'Settings': '設定',
  'Document': '文書',
  'The server’s time, as an event every second. The page compares it with the clock of your browser.':
    'サーバーの時刻が 1 秒ごとにイベントとして届きます。ページはそれをブラウザーの時計と比べます。',
  'Numbers down to 0. The last event is named close; the page then closes the stream.':
    '0 までの数です。最後のイベントの名前は close で、ページはそこでストリームを閉じます。',
  'The first event is the whole table. Each change is an event of its own. After a lost connection the page gets the changes that it missed.':
    '最初のイベントは表全体です。変更は 1 件ずつイベントになります。接続が切れても、その間の変更は再接続後に届きます。',
  'A file of the server: every line that is appended appears at once. Filter, pause and clear change only what you see.':
    'サーバー上のファイルです。追記された行はすぐに現れます。絞り込み、一時停止、消去が変えるのは表示だけです。',
  'A room. Each message is one line of a file; all other members receive it as an event.':
    'ルームです。メッセージはファイルの 1 行になり、ほかの参加者全員にイベントとして届きます。',
  'A session. Your message goes to a program, and each piece of its output is an event.':
    'セッションです。メッセージはプログラムに渡され、その出力が少しずつイベントになります。',
  'The counters of sse-fcgi: open streams, events per second, clients that were dropped. Restrict access to this page.':
    'sse-fcgi のカウンターです。開いているストリーム、毎秒のイベント、切断したクライアント。このページへのアクセスは制限してください。',
  'Tests of this server: whether events arrive at once, by which protocol, and whether a client can resume.':
    'このサーバーを調べます。イベントがすぐに届くか、プロトコルは何か、クライアントが続きから再開できるか。',
};
